"""The report of `make gpu-check`: gpu-check.md to read and gpu-check.json to compute with, written anew after every section."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.gpu_check.finding import Finding

NAME = "gpu-check"


def write(folder: Path, *, host: Mapping[str, Any], titles: Mapping[int, str], findings: Mapping[int, Finding]) -> None:
    """Writes both files; sections of `titles` without a finding have not been reached."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"host": dict(host), "sections": {number: finding.as_json() for number, finding in findings.items()}}
    _replace(folder / f"{NAME}.json", json.dumps(data, indent=1) + "\n")
    _replace(folder / f"{NAME}.md", markdown(host=host, titles=titles, findings=findings))


def markdown(*, host: Mapping[str, Any], titles: Mapping[int, str], findings: Mapping[int, Finding]) -> str:
    """The page: what was checked on what, the verdicts, then every section."""
    lines = ["# GPU check", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in host.items()]
    lines += ["", "## Verdicts", ""]
    lines += _table(["", "section", "verdict", "in a sentence"], [_verdict(n, title, findings) for n, title in titles.items()])
    for number, finding in findings.items():
        lines += ["", f"## {number}. {titles[number]}: {finding.verdict}", "", finding.summary]
        if finding.method:
            lines += ["", f"*Method.* {finding.method}"]
        for table in finding.tables:
            lines += ["", f"**{table.title}**", "", *_table(table.columns, table.rows)]
        if finding.notes:
            lines += ["", *(f"- {note}" for note in finding.notes)]
    return "\n".join(lines) + "\n"


def summary(findings: Mapping[int, Finding]) -> str:
    """One line for the terminal."""
    counts: dict[str, int] = {}
    for finding in findings.values():
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _verdict(number: int, title: str, findings: Mapping[int, Finding]) -> list[str]:
    if number not in findings:
        return [str(number), title, "not reached", "the time ran out, or the check was stopped"]
    return [str(number), title, f"**{findings[number].verdict}**", findings[number].summary]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return head + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return "unknown"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
