"""Which model comes first to a quality that several are trained for, and which at the least energy, in sentences.

Models are compared by one bar for all: a share of the best quality that any of them reached. (Each model's own best says how soon
it converges, and would have the worst model win.) A difference is called clear only where both have a 95 % interval over rounds,
these do not overlap, and the host was theirs.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from greenray.analysis.arms import Arm, json_of
from greenray.analysis.training import MIN_ROUNDS, SHARES, Figure, Training
from greenray.analysis.wording import count, quality, quantity, setting

MOST = 6
"""Sentences: a sweep over batch sizes and learning rates has many fields of models."""
_SAME = ("sweep", "dataset", "batch_size", "device", "hyperparameters")


def sentences(trainings: Iterable[Training]) -> tuple[str, ...]:
    """For each dataset and settings with several models, trained without a tactic: who is first, and who needs least."""
    fields: dict[tuple[object, ...], list[Training]] = defaultdict(list)
    for training in trainings:
        cell = training.arm.cell
        if cell["tactic"] == "baseline" and all(run.why_no_quality_to_reach is None for run in training.runs):
            same = (*(cell[name] for name in _SAME), training.arm.hardware, training.arm.scope)
            fields[same].append(training)
    several = [field for field in fields.values() if len({training.arm.cell["model"] for training in field}) > 1]
    ordered = sorted(several, key=len, reverse=True)
    found = [said for field in ordered if (said := _of_field(field, _where(field, several))) is not None]
    left = len(found) - MOST
    more = (f"The same of {count(left, 'more group')} of models is in the table.",) if left > 0 else ()
    return (*found[:MOST], *more)


def _where(field: Sequence[Training], others: Iterable[Sequence[Training]]) -> str:
    """On which data, and by which settings if those tell this field from others."""
    told = [json_of(cell, "hyperparameters") | {"device": cell["device"]} for cell in (one[0].arm.cell for one in others)]
    cell = field[0].arm.cell
    ours = json_of(cell, "hyperparameters") | {"device": cell["device"]}
    differing = [setting(name, value) for name, value in ours.items() if any(one.get(name) != value for one in told)]
    return f"On {cell['dataset']} in batches of {cell['batch_size']}" + (f" ({', '.join(differing)})" if differing else "")


def _of_field(field: Sequence[Training], where: str) -> str | None:
    """One sentence on models under the same settings; None where fewer than two can be compared."""
    bar = SHARES[0] * max(run.best or 0.0 for training in field for run in training.runs)
    energies = [(training, energy) for training in field if (energy := _energy_to(training, bar)) is not None]
    epochs = [(training, reached) for training in field if (reached := _epochs_to(training, bar)) is not None]
    if len(energies) < 2:
        return None
    ranked = sorted(energies, key=lambda pair: pair[1].mean)
    (cheapest, least), (second, next_) = ranked[:2]
    soonest, first = min(epochs, key=lambda pair: pair[1].mean)
    name, measure = cheapest.arm.cell["model"], cheapest.arm.measure
    rest, every = len(field) - len(energies), " in every round" if field[0].rounds > 1 else ""
    parts = [
        f"{where}, {name} reaches {quality(measure, bar)} {measure.name} ({SHARES[0] * 100:g} % of the best of {len(field)} "
        f"models) at the least energy, {_told(least)}; next is {second.arm.cell['model']} with {_told(next_)}.",
        f"After the fewest epochs it is {soonest.arm.cell['model']} ({first.mean:.3g}).",
        f"{rest} of them {'does' if rest == 1 else 'do'} not reach it{every}, or at unknown energy." if rest else "",
        "Energies are estimated from CPU time." if any(arm.modelled for arm in _arms(field)) else "",
        _certainty(least, next_, busy=any(arm.contended for arm in _arms([cheapest, second]))),
    ]
    return " ".join(part for part in parts if part)


def _certainty(least: Figure, next_: Figure, *, busy: bool) -> str:
    if least.high is None or next_.low is None:
        if busy:
            return "Others kept the host busy, so which is cheapest is not clear."
        return f"Fewer than {MIN_ROUNDS} rounds give no interval, so which is cheapest is not clear."
    clear = least.high < next_.low
    return "Their intervals do not overlap." if clear else "Their intervals overlap, so which is cheapest is not clear."


def _arms(trainings: Sequence[Training]) -> list[Arm]:
    return [run.arm for training in trainings for run in training.runs]


def _energy_to(training: Training, bar: float) -> Figure | None:
    return training.over_rounds(lambda run: None if (there := run.reach(bar)) is None else there.energy_j)


def _epochs_to(training: Training, bar: float) -> Figure | None:
    return training.over_rounds(lambda run: None if (there := run.reach(bar)) is None else float(there.epoch), spoiled=False)


def _told(figure: Figure) -> str:
    interval = "" if figure.low is None else f" ({quantity(figure.low, 'J')} to {quantity(figure.high, 'J')})"
    return quantity(figure.mean, "J") + interval
