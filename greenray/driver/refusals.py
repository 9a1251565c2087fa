"""Whether every model and dataset of a sweep can be had, asked before anything is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenray.config.cell import Cell
from greenray.config.matrix import expand
from greenray.config.refs import DatasetRef, ModelRef
from greenray.config.spec import SweepConfig
from greenray.errors import ResourceError
from greenray.tasks.hub import Unreachable
from greenray.tasks.registry import task_class

_Name = tuple[str, ModelRef | DatasetRef]
"""A task, and what it is to work on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Sentences of what cannot be had."""

    reasons: Mapping[_Name, str] = field(default_factory=dict)

    def reason(self, cell: Cell) -> str | None:
        """Why a cell cannot run; None where it can."""
        return next((why for name in _names(cell) if (why := self.reasons.get(name)) is not None), None)

    @property
    def sentences(self) -> list[str]:
        return list(dict.fromkeys(self.reasons.values()))


def check_names(config: SweepConfig) -> Refusals:
    """Ask for every model and dataset once, in the cache or on the hub, and whether it may be loaded.

    Raises ResourceError at the first that cannot be had, unless the config has `refusals: record`. A hub that cannot be reached
    ends every sweep: nothing is known of what it has.
    """
    cells = [block.cells[0] for block in expand(config, auto_device="cpu")]
    found: dict[_Name, str] = {}
    for task, name in dict.fromkeys(name for cell in cells for name in _names(cell)):
        try:
            if isinstance(name, ModelRef):
                task_class(task).check_model(name, trust=config.trust)
            else:
                task_class(task).check_dataset(name)
        except ResourceError as error:
            if config.refusals == "stop" or isinstance(error, Unreachable):
                raise
            found[task, name] = str(error)
    return Refusals(reasons=found)


def _names(cell: Cell) -> tuple[_Name, _Name]:
    return (cell.task, cell.model), (cell.task, cell.dataset)
