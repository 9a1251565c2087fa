"""The baselines of each model together: rows that several tables begin with."""

from collections import defaultdict
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.analysis.stats import mean_known
from greenray.report.tables.table import identity


def baselines(analysis: Analysis) -> list[list[Arm]]:
    """Of inference: by model, dataset, batch size, device, scope and stage; those on a quiet host, or all where none was."""
    groups: dict[tuple[str, ...], list[Arm]] = defaultdict(list)
    for arm in (part for whole in analysis.arms for part in whole.parts):
        if arm.cell["tactic"] == "baseline" and arm.cell["phase"] == "inference" and arm.ok:
            known = identity(arm, analysis.labels[arm.key])
            order = {"batch_size": f"{known['batch_size'] or 0:09}"}
            groups[(*map(str, (known | order).values()), arm.stage)].append(arm)
    return [[arm for arm in groups[key] if not arm.contended] or groups[key] for key in sorted(groups)]


def mean(arms: list[Arm], column: str) -> float | None:
    """Of a measured quantity; None where no arm knows it."""
    return mean_known(measured and measured.mean for measured in (getattr(arm, column) for arm in arms))


def modelled_share(arms: list[Arm]) -> float | None:
    """The largest share of the energy that is estimated from CPU time."""
    return max((arm.modelled_share for arm in arms if arm.modelled_share is not None), default=None)


def why_no_energy(arms: list[Arm]) -> str | None:
    """Why the energy is unknown; None where it is known."""
    if any(arm.energy_j for arm in arms):
        return None
    return (
        "; ".join(dict.fromkeys(why for arm in arms for why in (*arm.missing_reasons, *arm.rejected))) or "no window has a total"
    )


def of_cell(arms: list[Arm], *columns: str) -> dict[str, Any]:
    """Columns that are the same in every cell of a model."""
    return {name: arms[0].cell[name] for name in columns}
