"""The wire between a cell's process and its worker: JSON lines over a stream socket.

    worker                            cell
      | -- CellTask ------------------> |   what to run
      | <------------------- Ready ---- |   the device is initialised; on CUDA its UUID
      | <------------------ Window ---- |   one for every interval, as it ends
      | <------------------ Settle ---- |   may the idle window begin?
      | -- Settled -------------------> |
      | <----------------- Warming ---- |   in a warm-up on cuda: how fast does the board heat up? The load goes on meanwhile
      | -- Warmth --------------------> |
      | -- Verdict -------------------> |   after each steady window: are there enough of its stage?
      | <---------------- Spending ---- |   in training, if a tactic asks: what have the epochs cost so far?
      | -- Spent ---------------------> |
      | <---------- Done or Failed ---- |   the last word

The cell only writes down times (CLOCK_MONOTONIC, which both processes share); energy is the worker's business.
"""

import json
import select
import socket
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from greenray.config.cell import Cell
from greenray.config.settings import Measure, Trust

Kind = Literal["data", "load", "idle", "optimize", "warmup", "steady", "evaluate", "epoch"]


class Message(BaseModel):
    """Base of everything that goes over the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class CellTask(Message):
    """What the worker asks of a cell process.

    Attributes:
        steady_window_s: least length of a steady window; at least `measure.window_s`, longer where the board's counter is slow.
        most_windows: steady windows of a stage after which the load ends whatever the verdicts say.
        idle_s: length of the idle window.
        threads: intra-op threads to use.
        checkpoint: folder of the trained checkpoint for `from:` models.
        save_to: folder into which training saves its checkpoint.
    """

    type: Literal["task"] = "task"
    cell: Cell
    measure: Measure
    steady_window_s: float
    most_windows: int
    idle_s: float
    threads: int
    checkpoint: str | None = None
    save_to: str | None = None
    trust: Trust = Trust()


class Probe(Message):
    """Asks a fresh process whether it can use the device at all, before the first cell.

    `warm_compiler`: also compile something small, so that toolchain and headers are in the page cache for every cell alike.
    """

    type: Literal["probe"] = "probe"
    device: Literal["cpu", "cuda"]
    warm_compiler: bool = False


class Ready(Message):
    """The cell's device is initialised. `gpu_uuid` is what CUDA says, without the `GPU-` prefix; None on cpu."""

    type: Literal["ready"] = "ready"
    gpu_uuid: str | None = None


class Settle(Message):
    """The cell asks to be told when the board's power is steady."""

    type: Literal["settle"] = "settle"


class Settled(Message):
    """Answer to Settle; `steady` is False when the wait ran out."""

    type: Literal["settled"] = "settled"
    steady: bool


class Warming(Message):
    """The cell asks by how much the board's temperature rose in the last `seconds`, in which its load was running."""

    type: Literal["warming"] = "warming"
    seconds: float


class Warmth(Message):
    """Answer to Warming: C in the last `seconds`, negative where it fell; None where it cannot be told."""

    type: Literal["warmth"] = "warmth"
    seconds: float
    rise_c: float | None


class Spending(Message):
    """The cell asks for the energy of its epoch windows so far, because a tactic decides by it."""

    type: Literal["spending"] = "spending"


class Spent(Message):
    """Answer to Spending: J of all epoch windows so far; None where that of one is unknown, and then `unknown` says why."""

    type: Literal["spent"] = "spent"
    energy_j: float | None
    unknown: str | None = None


class Window(Message, frozen=False):
    """One interval of the attempt, seconds of CLOCK_MONOTONIC; the cell fills it in while it runs.

    `stage` is the kind of load that it belongs to, if any; `rejected` says why it must not be used; `epoch` is the last of the
    `epochs` that a window of training holds; `accuracy` is the quality of what is evaluated in this window: of the model after
    `epoch`, or without one of the finished model.
    """

    type: Literal["window"] = "window"
    kind: Kind
    stage: str | None = None
    start_s: float
    end_s: float
    samples: int = 0
    iterations: int = 0
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    rejected: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    train_accuracy: float | None = None
    accuracy: float | None = None


class Verdict(Message):
    """The worker's word on the steady windows of a stage so far; after `enough` the cell ends its load."""

    type: Literal["verdict"] = "verdict"
    enough: bool
    stage: str | None = None


class Done(Message, frozen=False):
    """The cell's result, filled in while it runs; names and units are those of the `cells` table, labels one a sample."""

    type: Literal["done"] = "done"
    evidence: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    model_family: str | None = None
    dataset_split: str | None = None
    dtype: str | None = None
    attention: str | None = None
    measured_batch_size: int | None = None
    num_threads: int | None = None
    parameters: int | None = None
    nonzero_parameters: int | None = None
    size_bytes: int | None = None
    macs_per_sample: float | None = None
    flops_per_sample: float | None = None
    activations_per_sample: float | None = None
    bytes_moved_per_sample: float | None = None
    parameters_bytes: int | None = None
    training_share: float | None = None
    touched_parameters_share: float | None = None
    touched_macs_share: float | None = None
    peak_gpu_memory_bytes: int | None = None
    peak_gpu_memory_load_bytes: int | None = None
    latency_bound: bool | None = None
    synchronized_samples_per_s: float | None = None
    unsynchronized_samples_per_s: float | None = None
    device_time_share: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    labels: list[int] = Field(default_factory=list)
    predictions: list[int] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)


class Failed(Message):
    """The cell ended without a result.

    `status` is one of the table's, the traceback is in the cell's log; `refused` says that trying again is no use, `resource`
    that the model or the data could not be had, which says nothing of the device; `device_error` that the device or its driver
    answered with an error: whether it still works is to be seen.
    """

    type: Literal["failed"] = "failed"
    status: Literal["not_applied", "unsupported", "oom", "failed"]
    error: str
    refused: bool = False
    resource: bool = False
    device_error: bool = False
    evidence: dict[str, Any] = Field(default_factory=dict)
    model_family: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)


AnyMessage = CellTask | Probe | Ready | Settle | Settled | Warming | Warmth | Spending | Spent | Window | Verdict | Done | Failed
_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])


class Channel:
    """JSON lines over a connected stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self._eof = False

    def send(self, message: Message) -> None:
        # NaN is no JSON: pydantic writes it as null, which is what unknown means here.
        self._socket.sendall(message.model_dump_json().encode() + b"\n")

    def receive(self, *, timeout_s: float) -> AnyMessage | None:
        """The next message, or None when none is complete in time; EOFError once the peer has closed and all was read."""
        deadline = time.monotonic() + timeout_s
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = bytearray(rest)
                return _ADAPTER.validate_python(json.loads(bytes(line)))
            if self._eof:
                raise EOFError("the other end of the channel is closed")
            ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            try:
                chunk = self._socket.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            self._eof = not chunk
            self._buffer += chunk
