"""What a cell has found out about itself."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class PartialResult:
    """What is known of a cell so far, for its last word also when it fails half-way."""

    family: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
