"""Training by learning rate and batch size: means over the runs on a quiet host, or over all where none was."""

from collections import defaultdict
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.stats import mean_known
from greenray.report.tables.table import Row, Table, figure, table, text
from greenray.report.tables.training import by_rate, runs

SHARED = (
    *("label", "sweep", "model", "model_family", "dataset", "device", "hardware", "energy_scope", "tactic", "batch_size"),
    *("learning_rate", "optimizer", "schedule", "weight_decay", "hyperparameters", "epochs"),
)
MEANS = ("energy_j", "epoch_energy_j", "gpu_energy_j", "cpu_energy_j", "dram_energy_j", "time_s", "accuracy")
COLUMNS = (
    *(*SHARED, *MEANS, "accuracy_lowest", "accuracy_highest", "modelled_share"),
    *("runs", "runs_without_result", "hardly_applied", "reason"),
)


def build(analysis: Analysis) -> Table:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in runs(analysis):
        groups[by_rate(row)].append(row)
    ordered = sorted(
        groups.values(), key=lambda of: (of[0]["model"] or "", of[0]["batch_size"] or 0, of[0]["learning_rate"] or 0)
    )
    return table(
        [_row([row for row in of if not row["contended"]] or of) for of in ordered],
        columns=COLUMNS,
        caption="Training by learning rate and batch size: means over rounds.",
        printed={
            "model": text("model"),
            "tactic": text("named"),
            "batch": text("batch_size"),
            "rate": text("learning_rate"),
            "energy, J": figure("energy_j"),
            "J/epoch": figure("epoch_energy_j"),
            "time, s": figure("time_s"),
            analysis.measure: figure("accuracy"),
            "runs": lambda row: f"{row['runs']} of {row['runs'] + row['runs_without_result']}",
        },
        text=("model", "tactic"),
    )


def _row(of: list[Row]) -> Row:
    qualities, shares = ([row[name] for row in of if row[name] is not None] for name in ("accuracy", "modelled_share"))
    failed = [row for row in of if row["status"] != "ok"]
    return (
        {name: of[0][name] for name in (*SHARED, "named", "hardly_applied")}
        | {name: mean_known(row[name] for row in of) for name in MEANS}
        | {"accuracy_lowest": min(qualities, default=None), "accuracy_highest": max(qualities, default=None)}
        | {"modelled_share": max(shares, default=None)}
        | {"runs": len(of) - len(failed), "runs_without_result": len(failed)}
        | {"reason": "; ".join(dict.fromkeys(row["reason"] for row in failed)) or None}
    )
