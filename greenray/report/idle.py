"""Gross and active energy side by side: what is paid for, and what the work itself adds."""

from greenray.analysis.results import Analysis, Finding
from greenray.analysis.wording import UNKNOWN, percent_change, quantity, unit_of
from greenray.report.document import Block, Grid, Text, without_empty


def gross_and_active(analysis: Analysis) -> list[Block]:
    """A table by finding, and what idle means in it; nothing where no idle power is known."""
    findings = analysis.findings
    if all(finding.effect.active is None for finding in findings):
        return []
    unit = unit_of(findings[0].effect.subject.task)
    columns = (
        "model",
        "tactic",
        "gross",
        "active",
        f"baseline, active / {unit}",
        f"tactic, active / {unit}",
        "baseline, active share",
        "board idle",
        "host idle",
    )
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            percent_change(finding.effect.energy),
            percent_change(finding.effect.active),
            quantity(finding.effect.baseline_active_j, "J"),
            quantity(finding.effect.tactic_active_j, "J"),
            _share(finding),
            _board(finding),
            _host(finding),
        )
        for finding in findings
    ]
    note = Text(
        text="Active is gross less idle power × time: what the work itself adds. The board's idle power is that of the cell's "
        "own idle window, its context held and its model loaded; the host's is read while no cell runs, or modelled, and each "
        "worker answers for an even part of it. Gross is what is paid for, and what is meant where a figure is not called active."
    )
    return [without_empty(Grid(heading="Gross and active", columns=columns, rows=tuple(rows)), empty=""), note]


def _share(finding: Finding) -> str:
    """How much of the baseline's gross energy is active."""
    gross_j, active_j = finding.effect.baseline_energy_j, finding.effect.baseline_active_j
    return UNKNOWN if not gross_j or active_j is None else f"{100 * active_j / gross_j:.0f} %"


def _board(finding: Finding) -> str:
    """Idle power of the boards over the cells compared, lowest to highest; empty without a board."""
    known = [arm.idle_w for visit in finding.effect.visits for arm in (visit.arm, *visit.baselines) if arm.idle_w is not None]
    return _range(known)


def _host(finding: Finding) -> str:
    return _range([visit.arm.host_idle_w for visit in finding.effect.visits if visit.arm.host_idle_w is not None])


def _range(watts: list[float]) -> str:
    if not watts:
        return ""
    low, high = f"{min(watts):.1f}", f"{max(watts):.1f}"
    return f"{low} W" if low == high else f"{low} to {high} W"
