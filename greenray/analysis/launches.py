"""Boards that waited for their host, where the host asked for one iteration after the other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from greenray.analysis.arms import Arm
from greenray.analysis.wording import common, count

_MOST_NAMED = 6


def waiting_boards(arms: Sequence[Arm]) -> Iterator[str]:
    """What a reader must know of them, in one text; nothing where there are none. `arms` are those of whole cells."""
    compared = [arm for arm in arms if arm.ok and arm.cell["latency_bound"] is not None]
    bound = [arm for arm in compared if arm.cell["latency_bound"]]
    if not bound:
        return
    part = f"{len(bound)} of" if len(bound) < len(compared) else "all"
    unit = common((arm.cell["unit"] or "sample" for arm in bound), "sample")
    most = max(arm.cell["unsynchronized_samples_per_s"] / arm.cell["synchronized_samples_per_s"] for arm in bound)
    yield (
        f"The board waits for its host: in {part} {count(len(compared), 'cell')} on a GPU it does up to {most:.1f} times the "
        f"work when nobody waits for each batch ({_which(bound)}). What it draws meanwhile is idle power, and energy per {unit} "
        "is that x time to a large part: a tactic is judged there by what it leaves to the host, not to the board. A larger "
        "batch, compile with mode reduce-overhead (CUDA graphs) or in_flight: 2 under measure would show what the board can do."
    )


def _which(arms: Sequence[Arm]) -> str:
    """Models and batches with their tactics, each once."""
    tactics: dict[str, set[str]] = defaultdict(set)
    for arm in arms:
        tactics[f"{arm.cell['model']} on batches of {arm.cell['batch_size']}"].add(arm.cell["tactic"])
    named = [f"{where}: {', '.join(sorted(names))}" for where, names in sorted(tactics.items())]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    return "; ".join([*named[:_MOST_NAMED], *more])
