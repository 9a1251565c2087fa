"""A worker's end of the wire for tests: runs a real cell in a thread over a real socket pair and answers it."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from greenray.cell import main as cell_module
from greenray.cell.protocol import (
    CellTask,
    Channel,
    Done,
    Failed,
    Message,
    Ready,
    Settle,
    Settled,
    Spending,
    Spent,
    Verdict,
    Warming,
    Warmth,
    Window,
)
from greenray.config.cell import Cell
from greenray.config.chains import TacticStep
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.config.settings import Measure, Trust
from greenray.tactics.registry import build
from greenray.tasks.base import Job

QUICK = Measure(window_s=0.1, min_windows=2, max_windows=3, min_counter_updates=1, idle_s=0.05, warmup_max_s=0.4)
DIGITS = DatasetRef(id="digits")
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Conversation:
    """Everything a cell said, and how its process would have ended."""

    messages: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def windows(self) -> list[Window]:
        return [message for message in self.messages if isinstance(message, Window)]

    def of(self, kind: str) -> list[Window]:
        return [window for window in self.windows if window.kind == kind]

    @property
    def done(self) -> Done:
        assert isinstance(self.messages[-1], Done), self.messages[-1]
        return self.messages[-1]

    @property
    def failed(self) -> Failed:
        assert isinstance(self.messages[-1], Failed), self.messages[-1]
        return self.messages[-1]


def preset(architecture: str, size: str = "tiny") -> ModelRef:
    label = f"{architecture}-{size}"
    return ModelRef(source="config", id=label, label=label, architecture=architecture, preset=size)


def folder(path: Path) -> ModelRef:
    return ModelRef(source="folder", id="./model", label="./model", path=str(path))


def make_job(*, model: ModelRef, dataset: DatasetRef = DIGITS, batch_size: int = 32, training: bool = False) -> Job:
    """What a cell on the CPU asks of its task."""
    return Job(model=model, dataset=dataset, batch_size=batch_size, device="cpu", training=training, trust=Trust())


def make_task(
    *,
    phase: Any = "inference",
    task: str = "image-classification",
    model: ModelRef | None = None,
    dataset: DatasetRef = DIGITS,
    tactic: tuple[str | tuple[str, dict[str, Any]], ...] = ("baseline",),
    batch_size: int = 32,
    hyperparameters: Hyperparameters | None = None,
    device: Any = "cpu",
    measure: Measure = QUICK,
    checkpoint: Path | None = None,
    save_to: Path | None = None,
    trust: Trust | None = None,
) -> CellTask:
    named = [(step, {}) if isinstance(step, str) else step for step in tactic]
    steps = tuple(TacticStep(name=name, params=build(name, params).params.model_dump()) for name, params in named)
    return CellTask(
        cell=Cell(
            cell_id="c1-0000000000000000",
            block_id="b1-0000000000000000",
            repeated_id="r1-0000000000000000",
            experiment="test",
            phase=phase,
            task=task,
            model=model or preset("vit"),
            dataset=dataset,
            batch_size=batch_size,
            hyperparameters=hyperparameters,
            device=device,
            tactic=steps,
            round=1,
            seed=0,
        ),
        measure=measure,
        steady_window_s=measure.window_s,
        most_windows=measure.max_windows,
        idle_s=measure.idle_s,
        threads=1,  # with two, tests on a busy machine wait for each other
        checkpoint=str(checkpoint) if checkpoint else None,
        save_to=str(save_to) if save_to else None,
        trust=trust or Trust(),
    )


def drive(
    task: CellTask,
    *,
    enough_after: int = 2,
    deadline_s: float = 120.0,
    epoch_j: float | None = 10.0,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Conversation:
    """Run the cell to its last word; after `enough_after` usable steady windows the verdict is "enough".

    An epoch costs `epoch_j`, where it is known.
    The cell runs in a thread of its own, inside what `within` opens there.
    """
    worker_end, cell_end = socket.socketpair()
    worker, conversation = Channel(worker_end), Conversation()

    def run() -> None:
        with within():
            conversation.exit_code = cell_module.main(cell_end)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + deadline_s
    try:
        worker.send(task)
        while True:
            message = worker.receive(timeout_s=deadline - time.monotonic())
            assert message is not None, f"the cell said nothing more; so far {conversation.messages}"
            conversation.messages.append(message)
            if isinstance(message, Settle):
                worker.send(Settled(steady=True))
            elif isinstance(message, Warming):
                worker.send(Warmth(seconds=message.seconds, rise_c=0.0))
            elif isinstance(message, Spending):
                spent_j = None if epoch_j is None else epoch_j * sum(window.epochs or 1 for window in conversation.of("epoch"))
                worker.send(Spent(energy_j=spent_j, unknown="no meter" if spent_j is None else None))
            elif isinstance(message, Window) and message.kind == "steady":
                of_stage = [window for window in conversation.of("steady") if window.stage == message.stage]
                enough = sum(window.rejected is None for window in of_stage) >= enough_after
                worker.send(Verdict(enough=enough or len(of_stage) >= task.measure.max_windows, stage=message.stage))
            elif isinstance(message, Done | Failed):
                break
        thread.join(timeout=10)
        assert not thread.is_alive()
    finally:
        worker_end.close()
        cell_end.close()
    assert isinstance(conversation.messages[0], Ready | Failed)
    return conversation
