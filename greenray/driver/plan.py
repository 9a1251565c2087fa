"""What a config asks of a store, what is settled there and what is left (`Plan`, which `plan` and `sweep` share); and which visit
runs next, and where (`Schedule`, `assign`).

A visit is one uninterrupted pass over the pending cells of a block on one worker, between two baselines. It is handed out whole;
whatever reopens a block (a resume, a dead worker, a tactic added later) is a new visit with brackets of its own, and nothing
settled runs again.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from greenray import __version__
from greenray.config.cell import Block, Cell
from greenray.config.matrix import expand, rounds_asked
from greenray.config.spec import SweepConfig
from greenray.driver.ledger import FINAL, Kind, Stored, kind_of
from greenray.driver.pool import WorkerSlot
from greenray.driver.refusals import Refusals
from greenray.errors import ConfigError
from greenray.store.schema import SCHEMA_VERSION
from greenray.worker.assignment import AttemptResult, WorkerInfo

_WAY_OUT = "give a new folder with --out, a new name: in the config, or --extend to take them over"

_IDENTITY = {"cell_id", "block_id", "repeated_id", "experiment", "phase", "device", "round"}
_NO_HARDWARE = {"machine", "usable_cores", "sees_store", "unusable", "notes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The cells in the order in which they run, brackets included; `number` is None for plain cells."""

    block: Block
    number: int | None
    cells: tuple[Cell, ...]


def check_measured_alike(config: SweepConfig, stored: Stored, *, out: str) -> None:
    """Raise ConfigError if the store's cells were measured by another `measure` or CPU model than they would be now."""
    manifest = stored.manifests.get(config.name)
    if manifest is None or config.name not in stored.results:
        return
    for key, asked in (("measure", config.measure), ("cpu_model", config.host.cpu_model)):
        # A key that is younger than the manifest had its default then, since that is how everything was measured.
        before, now = type(asked)().model_dump(mode="json") | manifest.get(key, {}), asked.model_dump(mode="json")
        if changed := [name for name in now if before[name] != now[name]]:
            differences = ", ".join(f"{name} was {before[name]} and is {now[name]}" for name in changed)
            raise ConfigError(f"{out} holds cells of {config.name} measured otherwise ({key}: {differences}); {_WAY_OUT}.")


class Plan:
    """Pending = wanted - settled.

    Attributes:
        auto_device: what the device `auto` stands for.
        bounds: of the number of rounds, by `repeated_id`, where the config does not give the number itself.
        blocks: the declared cells, those to be compared with each other together.
        cells: those of them that are wanted, by id: between bounds the least rounds, and those that `want` has added.
        ledger: what is known of them; to be kept current.
        new: ids of declared cells that the sweep's earlier manifest did not name; empty where there was none.
        refused: why what a block runs on cannot be had, by its id.
    """

    def __init__(self, config: SweepConfig, *, stored: Stored, auto_device: str, refused: Refusals | None = None) -> None:
        """Hold a config against what a store held when it was read. Raises ConfigError if it contradicts itself."""
        self.config = config
        self.auto_device = auto_device
        self.blocks = expand(config, auto_device=auto_device)
        self.refused = {b.block_id: why for b in self.blocks if (why := (refused or Refusals()).reason(b.cells[0])) is not None}
        asked = rounds_asked(config, auto_device=auto_device)
        self.bounds = {repeated_id: rounds for repeated_id, rounds in asked.items() if rounds.least < rounds.most}
        self._rounds = {repeated_id: rounds.least for repeated_id, rounds in asked.items()}
        self.cells = self._wanted()
        self._repeated: dict[str, list[Cell]] = defaultdict(list)
        for cell in self._declared():
            self._repeated[cell.repeated_id].append(cell)
        self._earlier = stored.manifests.get(config.name)
        trusted = {
            cell.cell_id: [kind for kind, names in config.trust if {cell.model.id, cell.model.path} & {*names}]
            for cell in self._declared()
        }
        self.ledger = stored.ledger(config.name, max_attempts=config.limits.max_attempts, trusted=trusted)
        before = {cell["cell_id"] for cell in self._earlier.get("cells", ())} if self._earlier else self.cells.keys()
        self.new = [cell_id for cell_id in self.cells if cell_id not in before]

    def want(self, rounds: Mapping[str, int]) -> int:
        """Add rounds, so many in all by `repeated_id`, as far as they were declared; returns how many cells that adds."""
        for repeated_id, number in rounds.items():
            self._rounds[repeated_id] = max(number, self._rounds.get(repeated_id, 0))
        before, self.cells = len(self.cells), self._wanted()
        return len(self.cells) - before

    @property
    def version(self) -> tuple[int, int]:
        """Another one whenever something ended or was added, and only then is something else settled, pending or given up."""
        return self.ledger.recorded, len(self.cells)

    def settled(self) -> int:
        """How many wanted cells there is nothing left to try of."""
        return sum(map(self.ledger.settled, self.cells))

    def pending(self, block: Block) -> list[Cell]:
        return [cell for cell in self._unsettled(block) if self.given_up(cell) is None]

    def given_up(self, cell: Cell) -> AttemptResult | None:
        """How an earlier round of a cell ended for good, where no round of it was ever ok: then the others are not tried.

        A model or data that could not be fetched may be there by the next round.
        """
        ends = {other.round: self.ledger.state(other.cell_id).result for other in self._repeated[cell.repeated_id]}
        if any(end is not None and end.status == "ok" for end in ends.values()):
            return None
        lost = (end for number, end in ends.items() if number < cell.round and end and self.ledger.settled(end.cell_id))
        return next((end for end in lost if end.error_kind != "resource"), None)

    def untold(self) -> list[tuple[Cell, AttemptResult]]:
        """Cells that are given up and have no row that says so, with the end that they are given up for."""
        cells = (cell for block in self.blocks for cell in self._unsettled(block) if not self.ledger.state(cell.cell_id).result)
        return [(cell, end) for cell in cells if (end := self.given_up(cell)) is not None]

    def kinds_left(self, block: Block) -> list[Kind]:
        """What is left of a block, with the brackets that its next visit would have."""
        kinds = [kind_of(cell) for cell in self.pending(block)]
        return [*kinds, *[(*kinds[0][:3], "baseline")] * 2] if kinds and block.bracketed else kinds

    def next_visit(self, block: Block) -> Visit | None:
        """The visit that would run what is left of a block; None where nothing is."""
        pending = self.pending(block)
        if not pending or not block.bracketed:
            return Visit(block=block, number=None, cells=tuple(pending)) if pending else None
        number = self.ledger.visits.get(block.block_id, 0) + 1
        first, last = (block.bracket(end, visit=number) for end in ("open", "close"))
        return Visit(block=block, number=number, cells=(first, *block.shuffled(pending, visit=number), last))

    def failures(self) -> int:
        """How many declared cells, and brackets of their blocks' latest visits, are not ok, unsupported or not_applied."""
        blocks = {block.block_id for block in self.blocks}
        ends = [state.result for state in self.ledger.cells.values() if state.result is not None]
        return sum(
            end.status not in FINAL
            for end in ends
            if end.cell_id in self.cells
            or (end.bracket is not None and end.block_id in blocks and end.visit == self.ledger.visits[end.block_id])
        )

    def check_hardware(self, infos: Sequence[WorkerInfo], *, out: str) -> None:
        """Raise ConfigError if settled cells come from hardware of which nothing is present now."""
        if self._earlier is None:
            return
        present: dict[str, set[str | None]] = {
            "cuda": {info.gpu_name for info in infos if info.uses_cuda},
            "cpu": {info.cpu_name for info in infos},
        }
        for cell_id, cell in self.cells.items():
            end = self.ledger.state(cell_id).result
            name = end and (end.gpu_name if cell.device == "cuda" else end.cpu_name)
            if end and end.status == "ok" and name is not None and name not in present[cell.device]:
                raise ConfigError(
                    f"{out} holds cells of {self.config.name} measured on {name}, which is not present now; {_WAY_OUT}."
                )

    def manifest(self, infos: Sequence[WorkerInfo], *, refused: Sequence[str] = ()) -> dict[str, Any]:
        """What `manifests/<name>.json` holds: enough to tell what was asked, of what, and on what.

        `refused` are sentences about GPUs and workers that could not be used.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "greenray_version": __version__,
            "written_at": datetime.now(UTC).isoformat(),
            "auto_device": self.auto_device,
            "config": self.config.model_dump(mode="json", by_alias=True, exclude={"folder"}),
            "measure": self.config.measure.model_dump(mode="json"),
            "cpu_model": self.config.host.cpu_model.model_dump(mode="json"),
            "cells": [
                cell.model_dump(include=_IDENTITY)
                | {"model": cell.model.label, "dataset": cell.dataset.id, "tactic": cell.tactic_slug}
                for cell in self.cells.values()
            ],
            "hardware": [{name: v for name, v in asdict(info).items() if name not in _NO_HARDWARE} for info in infos],
            "refused": list(refused),
        }

    def _unsettled(self, block: Block) -> list[Cell]:
        return [cell for cell in block.cells if cell.cell_id in self.cells and not self.ledger.settled(cell.cell_id)]

    def _declared(self) -> Iterator[Cell]:
        return (cell for block in self.blocks for cell in block.cells)

    def _wanted(self) -> dict[str, Cell]:
        return {cell.cell_id: cell for cell in self._declared() if cell.round <= self._rounds[cell.repeated_id]}


class Schedule:
    """The blocks of a plan, and which of them are being visited.

    The loop asks several times a second, beside what is measured, about thousands of cells: answers hold until something ends.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open: set[str] = set()
        self._ready: tuple[Any, list[Visit]] = (None, [])  # as of when, and what
        self._remaining: tuple[Any, list[Kind]] = (None, [])
        self._block_of = {cell.cell_id: block for block in plan.blocks for cell in block.cells}

    def ready(self) -> list[Visit]:
        """Visits that could start now, those of earlier rounds first; a block that is being visited has none.

        A bad quarter of an hour is to hit one round of many models and not every round of one: so all are visited once before any
        is visited again, each time in another order, which the seed decides. What others wait for comes first.
        """
        if self._ready[0] != self._now:
            free = [b for b in self._plan.blocks if b.block_id not in self._open and self._checkpoint(b) == "there"]
            visits = [visit for block in free if (visit := self._plan.next_visit(block))]
            self._ready = self._now, sorted(visits, key=self._turn)
        return self._ready[1]

    def orphans(self) -> list[tuple[Cell, str]]:
        """Cells whose model, data or checkpoint cannot be had, with the reason; each once, until a row says so."""
        return [
            (cell, self._plan.refused.get(block.block_id) or f"its checkpoint is missing: training cell {block.needs} is not ok")
            for block in self._plan.blocks
            if self._checkpoint(block) == "lost"
            for cell in self._plan.pending(block)
            if not (end := self._plan.ledger.state(cell.cell_id).result) or end.error_kind != "dependency"
        ]

    def finished(self) -> bool:
        """Whether nothing runs, nothing that can run is left, and a row says so of what never will."""
        if self._open or self.orphans() or self._plan.untold():
            return False
        return all(self._checkpoint(block) == "lost" or not self._plan.pending(block) for block in self._plan.blocks)

    def remaining(self) -> list[Kind]:
        """Kinds of the cells that nobody visits now and somebody will, with the brackets that they would get."""
        if self._remaining[0] != self._now:
            waiting = [b for b in self._plan.blocks if b.block_id not in self._open and self._checkpoint(b) != "lost"]
            self._remaining = self._now, [kind for block in waiting for kind in self._plan.kinds_left(block)]
        return self._remaining[1]

    def begin(self, visit: Visit) -> None:
        self._open.add(visit.block.block_id)

    def end(self, visit: Visit) -> None:
        self._open.discard(visit.block.block_id)

    @property
    def _now(self) -> Any:
        return self._plan.version, frozenset(self._open)

    def _turn(self, visit: Visit) -> tuple[bool, int, float]:
        cell = visit.cells[0]
        lot = random.Random(f"{cell.seed}/{visit.block.block_id}").random()
        return cell.phase != "training", cell.round, lot

    def _checkpoint(self, block: Block) -> Literal["there", "awaited", "lost"]:
        if block.block_id in self._plan.refused:
            return "lost"
        if block.needs is None or self._plan.ledger.state(block.needs).status == "ok":
            return "there"
        # A training cell that waits for a lost checkpoint itself will not come either.
        owner = self._block_of.get(block.needs)
        lost = self._plan.ledger.settled(block.needs) or (owner is not None and self._checkpoint(owner) == "lost")
        return "lost" if lost else "awaited"


def is_exclusive(cell: Cell, *, exclusive_hosts: bool | Literal["auto"]) -> bool:
    """Whether a cell has its host to itself."""
    return cell.device == "cpu" if exclusive_hosts == "auto" else exclusive_hosts


def assign(
    *,
    visits: Sequence[Visit],
    idle: Iterable[WorkerSlot],
    running: Mapping[str, Sequence[Cell]],
    exclusive_hosts: bool | Literal["auto"],
) -> tuple[Visit, WorkerSlot] | None:
    """The next of the visits, best first, and who starts it; None if all must wait. `running` are the cells on each machine.

    An exclusive cell waits until its host is drained, and while it runs nothing else starts there. Under `auto` a host's cpu
    visits come last, in one stretch.
    """
    for worker in sorted(idle, key=lambda w: w.idle_since_s):
        neighbours = running.get(worker.info.machine, ())
        if any(is_exclusive(cell, exclusive_hosts=exclusive_hosts) for cell in neighbours):
            continue
        cuda = [visit for visit in visits if visit.block.device == "cuda" and worker.info.uses_cuda]
        cpu = [visit for visit in visits if visit.block.device == "cpu"]
        # GPUs first: a cpu stretch would leave them idle.
        for visit in cuda or cpu:
            if neighbours and is_exclusive(visit.cells[0], exclusive_hosts=exclusive_hosts):
                continue
            return visit, worker
    return None
