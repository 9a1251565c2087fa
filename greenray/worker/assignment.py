"""What driver and workers say to each other: small frozen records, pickled by Ray."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from greenray.config.cell import Cell
from greenray.config.settings import CpuModel, Measure, Trust, WallMeter
from greenray.power.sharing import IdlePower


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What every worker of a sweep is told when it starts.

    Attributes:
        out: address of the store; by `probe`, the key of an object there, a worker tells that it sees the driver's.
        cell_memory_bytes: memory that a cell may take, where that is less than its share of the host's.
        wall_meter: its address may hold a password and is never shown.
        rehearsal: nothing measured is a result, so cells of a tactic may begin with what others have compiled.
        environment: variables for the worker's process (with `ray start` it would have the raylet's, not the driver's).
    """

    out: str
    probe: str | None
    sweep: str
    measure: Measure
    cpu_model: CpuModel
    cell_timeout_s: float
    cell_memory_bytes: int | None
    trust: Trust
    wall_meter: WallMeter | None = None
    rehearsal: bool = False
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What a worker found on its host.

    Attributes:
        host: for people. Two nodes of a cluster can share a name, and two containers of one machine have different ones.
        machine: what tells machines apart: cells on one machine share its processors and its energy.
        uses_cuda: whether a fresh process ran on the GPU with this torch.
        unusable: why none did, in torch's words, and how to mend it; None where one did, and without a board.
    """

    host: str
    machine: str
    cpu_name: str
    physical_cores: int
    usable_cores: int
    gpu_uuid: str | None
    gpu_name: str | None
    power_limit_w: float | None
    driver_version: str | None
    uses_cuda: bool
    energy_scope: str
    sees_store: bool
    versions: dict[str, str]
    unusable: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a worker does right now, for people who watch.

    Attributes:
        power_w, temperature_c: of its board; None where there is none or nothing can be read.
        waiting: who keeps the host busy, in a clause, while the worker waits for a quiet one before its cell; else None.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    waiting: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One cell to run now.

    Attributes:
        attempt: from 1.
        visit: number of the visit that it runs in; None, as its position there, for plain cells.
        workers_sharing: W of the sharing rule, the same for a whole visit: workers of the machine, or 1 if the cell has it to
            itself.
        idle: the machine's idle power; None where it has never been read.
        windows: usable steady windows that the process shall give of each stage, as far as `measure` allows; None: two.
    """

    cell: Cell
    attempt: int
    visit: int | None
    order_in_visit: int | None
    workers_sharing: int
    idle: IdlePower | None = None
    windows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended: what the driver reads of a row of `cells`, sent by a worker, stored, or about to be written.

    Attributes:
        visit: None for plain cells.
        error_kind: `dependency` never started; `refused` can never succeed; `withheld` not before somebody lets us have its model
            or data; `resource` whenever these can be had.
        tactic: slug of the tactic chain.
        j_per_sample: mean of the steady windows, for people who watch; None with several stages; not in the store.
        steady_j: energy per sample of each steady window that is used, as `j_per_sample`; `steady_s` is their time together.
        gpu_lost: why the worker's GPU must not be used any more; not in the store.
        suspect: whether the end may be the board's doing, so that it was looked at; not in the store.
        contended: whether others took enough of the host's processors to matter while it was measured; not in the store.
    """

    cell_id: str
    block_id: str
    visit: int | None
    bracket: str | None
    attempt: int
    status: str
    error: str | None
    error_kind: str | None
    phase: str
    device: str
    model: str
    tactic: str
    cpu_name: str | None
    gpu_name: str | None
    duration_s: float
    energy_j: float | None
    j_per_sample: float | None = None
    steady_j: tuple[float, ...] = ()
    steady_s: float = 0.0
    gpu_lost: str | None = None
    suspect: bool = False
    contended: bool = False

    @classmethod
    def of_row(cls, row: Mapping[str, Any], **more: Any) -> Self:
        """A row of `cells`; `more` is what is no column: `tactic`, a key of the path, and what is in no store."""
        known: dict[str, Any] = {name: row.get(name) for name in RESULT_COLUMNS}
        return cls(**known | more)


RESULT_COLUMNS = tuple(field.name for field in dataclasses.fields(AttemptResult) if field.default is dataclasses.MISSING)
