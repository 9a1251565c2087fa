"""What training cost, by run and by epoch, and the quality that came of it."""

from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import TrainingRun
from greenray.analysis.wording import UNKNOWN, common, quality, quantity
from greenray.report.document import Section, Text, grid, section, without_empty


def load(analysis: Analysis) -> Sequence[TrainingRun] | None:
    return analysis.training or None


def show(runs: Sequence[TrainingRun], analysis: Analysis) -> Section:
    measure = common((run.arm.measure.name for run in runs), "quality")
    table = grid(
        runs,
        {
            "model": lambda r: analysis.labels[r.arm.key],
            "tactic": lambda r: r.arm.cell["tactic"],
            "settings": lambda r: r.settings,
            "epochs": lambda r: str(r.epochs),
            "energy / epoch": lambda r: quantity(r.epoch_energy_j, "J"),
            "energy, all epochs": lambda r: quantity(r.energy_j, "J"),
            "active, all epochs": lambda r: "" if r.active_j is None else quantity(r.active_j, "J"),
            "time / epoch": lambda r: quantity(r.epoch_time_s, "s"),
            f"test {measure}": lambda r: quality(r.arm.measure, *(r.arm.cell[f"accuracy{end}"] for end in ("", "_low", "_high"))),
            "grade": lambda r: r.arm.grade or UNKNOWN,
        },
        text=("model", "tactic", "settings"),
    )
    modelled = Text("Energies are estimated from CPU time.") if any(run.arm.modelled for run in runs) else None
    return section("training", "Training", modelled, without_empty(table))
