"""What a section of the check found: a verdict in a sentence, tables, and the raw figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "off", "unclear", "failed", "cut short"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report; a cell is text, a number or None (unknown)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The end of one section.

    Attributes:
        verdict: ok; off (a promise is not kept); unclear (the figures do not decide); failed (the section itself broke);
            cut short (its time ran out).
        summary: the verdict in a sentence.
        method: how it was measured, for the report.
        notes: what else a reader must know, in sentences.
        data: raw figures for the JSON file.
    """

    verdict: Verdict
    summary: str
    method: str = ""
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def finding_of(data: dict[str, Any]) -> Finding:
    """The finding that `as_json` wrote."""
    return Finding(**{**data, "tables": [Table(**table) for table in data["tables"]]})
