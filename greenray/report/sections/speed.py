"""Latency and throughput of each tactic beside its baseline."""

from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.wording import UNKNOWN, number, percent_change, plural, throughput_change
from greenray.report.document import NAMES, Section, Text, grid, section


def load(analysis: Analysis) -> Sequence[Finding] | None:
    """Of trainings those that learnt from as many samples: else time is no throughput."""
    told = [finding for finding in analysis.findings if finding.effect.time is not None and not finding.effect.learnt_less]
    return told or None


def show(findings: Sequence[Finding], analysis: Analysis) -> Section:
    note = Text(
        "Latency is the wall time of one batch, copy to the device and synchronisation included, with one batch in flight."
    )
    table = grid(
        findings,
        {
            **NAMES,
            f"baseline, {plural(analysis.unit)}/s": lambda f: _throughput(f.effect.baseline_time_s),
            f"tactic, {plural(analysis.unit)}/s": lambda f: _throughput(f.effect.tactic_time_s),
            "throughput": lambda f: throughput_change(f.effect),
            "latency p50": lambda f: percent_change(f.effect.latency_p50),
            "latency p95": lambda f: percent_change(f.effect.latency_p95),
        },
    )
    return section("speed", "Latency and throughput", note, table)


def _throughput(time_s: float | None) -> str:
    return number(1 / time_s) if time_s else UNKNOWN
