"""What it takes to do it again: config, versions and hardware as each sweep wrote them down."""

from typing import Any

import yaml

from greenray.analysis.analyse import Analysis
from greenray.report.document import Block, Code, Section, Text, section


def load(analysis: Analysis) -> str:
    """When the last attempt ended (ISO 8601, UTC); "" where none has."""
    ended = analysis.frames.attempts["finished_at"].drop_nulls().sort()
    return ended[-1].isoformat(timespec="seconds").replace("+00:00", "Z") if ended.len() else ""


def show(ended: str, analysis: Analysis) -> Section:
    blocks: list[Block] = []
    if ended:
        blocks.append(Text(f"The last attempt ended at {ended}. The same command with the same config resumes this sweep."))
    for name, manifest in analysis.frames.manifests.items():
        for part in ("config", "versions", "hardware"):
            if manifest.get(part):
                given = _without_nulls(manifest[part])
                text = yaml.safe_dump(given, sort_keys=True, allow_unicode=True, default_flow_style=False)
                blocks.append(Code(heading=f"{part.capitalize()} of {name}", text=text))
    again = Text("Every figure on this page is computed from the store's Parquet files; greenray report computes it again.")
    return section("reproducibility", "Reproducibility", *blocks, again)


def _without_nulls(value: Any) -> Any:
    """A manifest without what was left at its default of nothing: shorter to read, and the same when loaded."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
