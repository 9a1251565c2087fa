"""What training cost, by run and by epoch, the quality that came of it, and what it took to come near the best."""

from collections.abc import Callable, Sequence

from greenray.analysis import reaching
from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import json_of
from greenray.analysis.training import SHARES, Evaluated, Figure, Training, TrainingRun, trainings
from greenray.analysis.wording import UNKNOWN, common, count, quality, quantity, setting
from greenray.report import charts
from greenray.report.document import Bullets, Chart, Grid, Notes, Section, Text, grid, section, without_empty

MOST_LINES = 14
DASHES = ("solid", "dash", "dot")


def load(analysis: Analysis) -> Sequence[TrainingRun] | None:
    return analysis.training or None


def show(runs: Sequence[TrainingRun], analysis: Analysis) -> Section:
    measure = common((run.arm.measure.name for run in runs), "quality")
    table = grid(
        runs,
        {
            "model": lambda r: analysis.labels[r.arm.key],
            "tactic": lambda r: r.named,
            "epochs": lambda r: str(r.epochs),
            "energy / epoch": lambda r: quantity(r.epoch_energy_j, "J"),
            "energy, all epochs": lambda r: quantity(r.energy_j, "J"),
            "active, all epochs": lambda r: "" if r.active_j is None else quantity(r.active_j, "J"),
            "evaluating after epochs": lambda r: quantity(r.evaluation_j, "J") if r.evaluated else "",
            "time / epoch": lambda r: quantity(r.epoch_time_s, "s"),
            f"test {measure}": lambda r: quality(r.arm.measure, *(r.arm.cell[f"accuracy{end}"] for end in ("", "_low", "_high"))),
            "grade": lambda r: r.arm.grade or UNKNOWN,
        },
        text=("model", "tactic"),
    )
    said = [f"All with {alike}." if (alike := settings_of_all(runs)) else ""]
    said += ["Energies are estimated from CPU time."] if any(run.arm.modelled for run in runs) else []
    explained = Text(text) if (text := " ".join(filter(None, said))) else None
    grouped = trainings(runs)
    told = [training for training in grouped if all(run.why_no_quality_to_reach is None for run in training.runs)]
    reached = Bullets(heading="Energy to reach a quality", items=reaching.sentences(told))
    blocks = (reached, to_share(told, analysis, measure), course(told, analysis), untold(grouped))
    return section("training", "Training", explained, without_empty(table), *blocks)


def settings_of_all(runs: Sequence[TrainingRun]) -> str:
    """What was set alike in all of them; labels name what was not."""
    first, *others = [json_of(run.arm.cell, "hyperparameters") for run in runs]
    return ", ".join(setting(name, value) for name, value in first.items() if all(other.get(name) == value for other in others))


def to_share(told: Sequence[Training], analysis: Analysis, measure: str) -> Grid | None:
    """What each training took to come to shares of its own best."""
    if not told:
        return None
    columns: dict[str, Callable[[Training], str]] = {
        "model": lambda t: analysis.labels[t.arm.key],
        "tactic": lambda t: t.runs[0].named,
        "rounds": lambda t: str(t.rounds),
        f"best {measure}": lambda t: _mean(
            t, lambda run: run.best, lambda value: quality(t.arm.measure, min(value, 1.0)), spoiled=False
        ),
    }
    for share in SHARES:
        columns |= _columns_of(share)
    heading = "Until the model first reached so much of its own best: energy and time of the epochs, evaluations not included"
    return grid(told, columns, text=("model", "tactic"), heading=heading)


def _columns_of(share: float) -> dict[str, Callable[[Training], str]]:
    def joules(of: Callable[[Evaluated], float | None], unit: str) -> Callable[[Training], str]:
        def told(training: Training) -> str:
            def value(run: TrainingRun) -> float | None:
                return None if (there := run.to_share(share)) is None else of(there)

            said = (lambda figure: quantity(figure, unit)) if unit else (lambda figure: f"{figure:.3g}")
            return _mean(training, value, said, spoiled=bool(unit))

        return told

    return {
        f"epochs to {share * 100:g} %": joules(lambda there: float(there.epoch), ""),
        f"energy to {share * 100:g} %": joules(lambda there: there.energy_j, "J"),
        f"time to {share * 100:g} %": joules(lambda there: there.time_s, "s"),
        f"evaluating until {share * 100:g} %": joules(lambda there: there.evaluation_j, "J"),
    }


def _mean(training: Training, of: Callable[[TrainingRun], float | None], told: Callable[[float], str], *, spoiled: bool) -> str:
    """Mean over rounds, with its interval where there is one."""
    figure: Figure | None = training.over_rounds(of, spoiled=spoiled)
    if figure is None:
        return UNKNOWN
    interval = "" if figure.low is None or figure.high is None else f" ({told(figure.low)} to {told(figure.high)})"
    return told(figure.mean) + interval


def course(told: Sequence[Training], analysis: Analysis) -> Chart | None:
    """Quality after each epoch against the energy of the epochs so far: one line for each training, its first round's."""
    firsts = [training.runs[0] for training in told if all(after.energy_j is not None for after in training.runs[0].evaluated)]
    # Models first, then what tactics make of them.
    lines = sorted(firsts, key=lambda run: run.arm.cell["tactic"] != "baseline")[:MOST_LINES]
    if not lines:
        return None
    measure = lines[0].arm.measure
    energies = [after.energy_j or 0.0 for run in lines for after in run.evaluated]
    factor, prefix = (1e-3, "k") if max(energies) >= 10_000 else (1.0, "")
    traces = [
        charts.scatter(
            f"{analysis.labels[run.arm.key]}, {run.named}",
            charts.rounded((after.energy_j or 0.0) * factor for after in run.evaluated),
            charts.rounded(after.quality * 100 for after in run.evaluated),
            mode="lines+markers",
            line={"color": charts.colour(place), "dash": DASHES[place // len(charts.PALETTE) % len(DASHES)]},
            marker={"size": 5},
        )
        for place, run in enumerate(lines)
    ]
    wide = 0 < 20 * min(energies) < max(energies)
    layout = {
        "height": 420 + 40 * len(traces),  # of which the legend takes half, a line each
        "xaxis": {"title": {"text": f"energy of the epochs so far, {prefix}J"}} | ({"type": "log"} if wide else {}),
        "yaxis": {"title": {"text": f"{measure.name}, %"}, "zeroline": False},
    }
    caption = "Up and to the left is better: a point is the model after an epoch. Evaluating it is not in its energy."
    if len(firsts) > len(lines):
        caption += f" Shown are {len(lines)} of {len(firsts)} trainings; the table has all of them."
    return charts.chart("training", traces, layout, caption)


def untold(grouped: Sequence[Training]) -> Notes | None:
    """Why some trainings have no energy to a share of their best, or no interval."""
    reasons: dict[str, int] = {}
    for training in grouped:
        if (why := next((why for run in training.runs if (why := run.why_no_quality_to_reach)), None)) is not None:
            reasons[why] = reasons.get(why, 0) + 1
    said = [f"Energy to 90 % of the best is unknown of {count(many, 'training')}: {why}." for why, many in reasons.items()]
    if busy := sum(all(run.arm.contended for run in training.runs) for training in grouped):
        said.append(
            f"Others kept the host busy in every round of {count(busy, 'training')}: no interval of energy or time there."
        )
    return Notes(items=tuple(said)) if said else None
