"""How a cell fails: its last word, and what its log keeps."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from greenray.cell import main as cell
from greenray.cell.protocol import Channel, Done, Failed
from greenray.config.chains import TacticStep
from greenray.config.refs import Hyperparameters, ModelRef
from greenray.errors import CellError, NotApplied, ResourceError, Unsupported
from greenray.tasks.hub import Unobtainable
from greenray.tasks.image_classification.task import ImageClassification
from tests.support.driving import drive, folder, make_job, make_task, preset

THREE_EPOCHS = Hyperparameters(epochs=3, learning_rate=0.01, schedule="one-cycle", optimizer="adamw", weight_decay=0.01)


class TestFailure:
    def test_a_checkpoint_that_is_not_there(self, tmp_path: Path) -> None:
        conversation = drive(
            make_task(model=ModelRef(source="checkpoint", id="c1", label="resnet-tiny"), checkpoint=tmp_path / "gone")
        )
        assert (conversation.failed.status, conversation.exit_code) == ("failed", 1)
        assert "there is no folder" in conversation.failed.error

    def test_not_applied_keeps_the_evidence(self) -> None:
        # torch's own attention again, by whichever kernel: what ran before runs on.
        failed = drive(make_task(tactic=("bf16", ("attention", {"implementation": "sdpa"})))).failed
        assert failed.status == "not_applied"
        assert {*failed.evidence} == {"bf16", "attention"}

    def test_a_cuda_cell_without_cuda(self) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device here")
        failed = drive(make_task(device="cuda")).failed
        assert failed.error.startswith("torch cannot use CUDA: ")
        assert failed.status == ("failed" if torch.backends.cuda.is_built() else "unsupported")

    @pytest.mark.parametrize(
        ("error", "status", "sentence"),
        [
            (NotApplied("nothing"), "not_applied", "nothing"),
            (Unsupported("cannot"), "unsupported", "cannot"),
            (CellError("broken"), "failed", "broken"),
            (ResourceError("missing."), "failed", "missing."),
            (Unobtainable("gated."), "failed", "gated."),
            (MemoryError(), "oom", "out of memory: no message"),
            (torch.OutOfMemoryError("CUDA out of memory. Tried"), "oom", "out of memory: CUDA out of memory. Tried"),
            (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), "oom", "out of memory: [enforce] "),
            (RuntimeError("shapes\ndo not match"), "failed", "RuntimeError: shapes"),
        ],
    )
    def test_every_error_has_a_status_and_one_sentence(self, error: Exception, status: str, sentence: str) -> None:
        failed = cell.last_word(error, Done(model_family="vit"))
        assert failed.status == status
        assert (failed.resource, failed.refused) == (isinstance(error, ResourceError), isinstance(error, Unobtainable))
        assert failed.error.startswith(sentence)
        assert "\n" not in failed.error
        assert failed.model_family == "vit"

    def test_a_worker_that_leaves_ends_the_cell(self) -> None:
        worker_end, cell_end = socket.socketpair()
        worker_end.close()
        assert cell.main(cell_end) == 1
        cell_end.close()

    def test_a_worker_that_leaves_in_the_middle_ends_the_cell(self) -> None:
        worker_end, cell_end = socket.socketpair()
        Channel(worker_end).send(make_task(model=preset("resnet")))
        worker_end.shutdown(socket.SHUT_WR)
        assert cell.main(cell_end) == 1
        worker_end.close()
        cell_end.close()


def test_a_model_that_raises_fails_its_cell_and_prints_the_traceback(tmp_path: Path) -> None:
    """In a process of its own, as in a sweep: the traceback goes to its log."""
    task = ImageClassification(make_job(model=preset("resnet")))
    task.prepare()
    task.save(task.load(), tmp_path / "model")
    config = tmp_path / "model" / "preprocessor_config.json"
    config.write_text(config.read_text().replace("32", "0"))
    worker_end, cell_end = socket.socketpair()
    code = f"import socket, sys; from greenray.cell.main import main; sys.exit(main(socket.socket(fileno={cell_end.fileno()})))"
    with (tmp_path / "cell.log").open("w") as log, cell_end:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=log, pass_fds=(cell_end.fileno(),))
    worker = Channel(worker_end)
    worker.send(make_task(model=folder(tmp_path / "model")))
    said: list[Any] = []
    while not said or not isinstance(said[-1], Failed):
        said.append(worker.receive(timeout_s=100))
        assert said[-1] is not None
    assert process.wait(timeout=10) == 1
    worker_end.close()
    assert said[-1].status == "failed"
    assert "Traceback" in (tmp_path / "cell.log").read_text()


def test_steps_are_what_the_config_writes() -> None:
    (step,) = make_task(tactic=(("prune-global", {"amount": 0.4}),)).cell.tactic
    assert step == TacticStep(name="prune-global", params={"amount": 0.4, "permanent": True})
