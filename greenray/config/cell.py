"""What a cell is: one point of the matrix, frozen, with its identity.

A cell's id is a versioned hash over what the cell *declares*: renaming an experiment, measuring longer or moving to
another host leaves it as it was, so a finished sweep can be extended. `tests/config/test_matrix.py` pins ids down.
"""

import functools
import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from greenray.config.chains import BASELINE, TacticStep
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.config.settings import Frozen
from greenray.tactics.registry import tactic_class


class Cell(Frozen):
    """One point of the matrix. `bracket` and `visit` are set for the two baselines around a visit.

    `repeated_id` is the same in every round: what it names is repeated there. Both brackets have that of their baseline.
    """

    cell_id: str
    block_id: str
    repeated_id: str
    experiment: str
    phase: Literal["training", "inference"]
    task: str
    model: ModelRef
    dataset: DatasetRef
    batch_size: int
    hyperparameters: Hyperparameters | None
    device: Literal["cuda", "cpu"]
    tactic: tuple[TacticStep, ...]
    round: int
    seed: int
    bracket: Literal["open", "close"] | None = None
    visit: int | None = None

    @property
    def is_baseline(self) -> bool:
        return self.tactic == BASELINE

    @functools.cached_property
    def tactic_slug(self) -> str:
        """The chain as a path segment of `a-z 0-9 - + . _`; parameters at their default are left out."""
        return "+".join(_step_slug(step) for step in self.tactic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Cells to be compared with each other.

    Attributes:
        cells: the declared cells, without brackets. In a bracketed block the baseline is not among them: it is the brackets.
        bracketed: whether visits to the block open and close with a baseline.
        needs: id of the training cell whose checkpoint the block uses, or None.
    """

    block_id: str
    cells: tuple[Cell, ...]
    bracketed: bool
    needs: str | None

    @property
    def device(self) -> str:
        return self.cells[0].device

    def bracket(self, kind: Literal["open", "close"], *, visit: int) -> Cell:
        """The opening or closing baseline of one visit, with the visit in its id."""
        fields = {name: getattr(self.cells[0], name) for name in Cell.model_fields if not name.endswith("_id")}
        return make_cell(**{**fields, "tactic": BASELINE, "bracket": kind, "visit": visit})

    def shuffled(self, cells: Iterable[Cell], *, visit: int) -> list[Cell]:
        """Cells in the seeded random order of one visit."""
        ordered = sorted(cells, key=lambda cell: cell.cell_id)
        random.Random(f"{ordered[0].seed}/{self.block_id}/{visit}" if ordered else 0).shuffle(ordered)
        return ordered


def make_cell(**fields: Any) -> Cell:
    """The cell of these fields, with its ids."""
    hyper = fields["hyperparameters"]
    point = {
        **{name: fields[name] for name in ("phase", "task", "batch_size", "device", "round", "seed")},
        **{name: fields[name].identity() for name in ("model", "dataset")},
        "hyperparameters": hyper.identity() if hyper else None,
    }
    identity = {**point, "tactic": [step.model_dump() for step in fields["tactic"]]}
    repeated = {name: value for name, value in identity.items() if name != "round"}
    if fields.get("bracket"):
        identity |= {"bracket": fields["bracket"], "visit": fields["visit"]}
    fields |= {"cell_id": f"c1-{_digest(identity)}", "block_id": f"b1-{_digest(point)}"}
    return Cell(repeated_id=f"r1-{_digest(repeated)}", **fields)


def _digest(identity: dict[str, Any]) -> str:
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _step_slug(step: TacticStep) -> str:
    defaults = tactic_class(step.name).Params().model_dump(mode="json")
    parts = [f"{key}-{_text(value)}" for key, value in step.params.items() if value != defaults.get(key)]
    return "_".join([step.name, *parts])


def _text(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return "".join(char if char.isascii() and (char.isalnum() or char in "-.") else "-" for char in text.lower())
