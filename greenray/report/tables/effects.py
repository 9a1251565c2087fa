"""Every measure of a tactic on a model: a row each, and in print a line for each model and tactic."""

from collections.abc import Callable
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.measures import MEASURES, Change, changes
from greenray.report.sections.over_models import change as said
from greenray.report.tables.table import IDENTITY, Row, Table, identity, table, text

TOUCHED = ("touched_parameters_share", "touched_macs_share")
COLUMNS = (
    *IDENTITY,
    *(
        "stage",
        "tactic",
        "measure",
        "unit",
        "baseline",
        "with_tactic",
        "change_is",
        "change",
        "change_low",
        "change_high",
        "rounds",
    ),
    *("mcnemar_p", "samples_evaluated", "agreement", *TOUCHED, "modelled", "basis", "flags"),
)
PRINTED = ("energy_j", "gpu_energy_j", "time_s", "accuracy", "size_bytes")


def build(analysis: Analysis) -> Table:
    told = [(finding, changes(finding)) for finding in analysis.findings]
    shown = [measure for measure in MEASURES if measure.name in PRINTED]
    lines = [{"label": f.label, "tactic": f.named, "changes": found} for f, found in told]
    labels = {measure.name: measure.label.replace("accuracy", analysis.measure) for measure in shown}
    return table(
        [_row(finding, change) for finding, found in told for change in found.values()],
        lines=lines,
        columns=COLUMNS,
        caption="Change by each tactic against its baseline, with the 95 % interval over rounds; quality over samples.",
        printed={"model": text("label"), "tactic": text("tactic")} | {labels[m.name]: _said(m.name) for m in shown},
        text=("model", "tactic"),
    )


def _said(name: str) -> Callable[[Row], str]:
    return lambda line: said(line["changes"][name])


def change_columns(change: Change) -> dict[str, Any]:
    """Columns of a change, of one model or over models; `change_is` says which of the two it is."""
    return {
        "measure": change.measure.name,
        "unit": change.unit or None,
        "change_is": "difference in points" if change.measure.points else "ratio",
        "change": change.value,
        "change_low": change.low,
        "change_high": change.high,
        "basis": change.basis,
    }


def _row(finding: Finding, change: Change) -> Row:
    effect, accuracy = finding.effect, finding.accuracy if change.measure.name == "accuracy" else None
    return (
        identity(effect.visits[0].arm, finding.label)
        | change_columns(change)
        | {
            "energy_scope": effect.subject.scope,
            "stage": effect.subject.stage or None,
            "tactic": finding.tactic,
            "baseline": change.baseline,
            "with_tactic": change.tactic,
            "rounds": effect.rounds,
            "mcnemar_p": accuracy and accuracy.p_value,
            "samples_evaluated": accuracy and accuracy.samples,
            "agreement": accuracy and accuracy.agreement,
            **{name: effect.visits[0].arm.cell[name] for name in TOUCHED},
            "modelled": effect.modelled,
            "flags": "; ".join(effect.flags) or None,
        }
    )
