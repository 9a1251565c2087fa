"""Boards that waited for their host, where the host asked for one iteration after the other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from greenray.analysis.arms import Arm, json_of
from greenray.analysis.wording import common, count

_BUSY_BELOW = 0.87  # of the time between two iterations: with less of it to do, a board waits for a good part of it
_TOLD = ("synchronized_samples_per_s", "unsynchronized_samples_per_s", "device_time_share")
_MOST_NAMED = 6


def waiting_boards(arms: Sequence[Arm]) -> Iterator[str]:
    """What a reader must know of them, in one text; nothing where there are none. `arms` are those of whole cells."""
    faster = {arm.key: found for arm in arms if arm.ok and (found := _could_be_faster(arm)) is not None}
    bound = [arm for arm in arms if arm.key in faster and _waits(arm)]
    if not bound:
        return
    part = "all" if len(bound) == len(faster) > 1 else f"{len(bound)} of"
    unit = common((arm.cell["unit"] or "sample" for arm in bound), "sample")
    graphs = "compile with mode reduce-overhead (CUDA graphs)"
    overlap = not all(json_of(arm.cell, "settings").get("in_flight") == 2 for arm in bound)  # else it is so already
    remedies = f"A larger batch, {graphs} or in_flight: 2 under measure" if overlap else f"A larger batch or {graphs}"
    yield (
        f"The board waits for its host: in {part} {count(len(faster), 'cell')} on a GPU it could do up to "
        f"{max(faster.values()):.1f} times the work ({_which(bound)}). What it draws meanwhile is idle power, and energy per "
        f"{unit} is that x time to a large part: a tactic is judged there by what it leaves to the host, not to the board. "
        f"{remedies} would show what it can do."
    )


def _waits(arm: Arm) -> bool:
    """By the row's verdict on launches, or by how little of the time the board itself needs."""
    share = arm.cell["device_time_share"]
    return bool(arm.cell["latency_bound"]) or (share is not None and share < _BUSY_BELOW)


def _could_be_faster(arm: Arm) -> float | None:
    """By which factor, if nobody waited for each iteration or all of it were launched at once; None where neither is known."""
    waited, free, share = (arm.cell[name] for name in _TOLD)
    known = [free / waited] if waited and free else []
    return max([*known, 1 / share] if share else known, default=None)


def _which(arms: Sequence[Arm]) -> str:
    """Models and batches with their tactics, each once."""
    tactics: dict[str, set[str]] = defaultdict(set)
    for arm in arms:
        batch_size = arm.cell["measured_batch_size"] or arm.cell["batch_size"]
        tactics[f"{arm.cell['model']} on batches of {batch_size}"].add(arm.cell["tactic"])
    named = [f"{where}: {', '.join(sorted(names))}" for where, names in sorted(tactics.items())]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    return "; ".join([*named[:_MOST_NAMED], *more])
