"""Tactics in a whole cell, also on a board that is played on the processor: what the row says of the settings."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from torch.overrides import _get_current_function_mode_stack

from greenray.config.refs import DatasetRef, Hyperparameters
from greenray.tactics.base import Context
from tests.support.driving import drive, make_task, preset

SOME = DatasetRef(id="digits", samples=64)
ONE_EPOCH = Hyperparameters(epochs=1, learning_rate=0.003, schedule="constant", optimizer="adam", weight_decay=0.0)


@pytest.fixture
def board(cuda: Context) -> Callable[[], AbstractContextManager[None]]:
    """Opens the board that this thread plays in another one too."""
    modes = _get_current_function_mode_stack()

    @contextlib.contextmanager
    def played() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            yield

    return played


def test_the_row_says_what_a_tactic_has_switched(board: Callable[[], AbstractContextManager[None]]) -> None:
    tasks = {name: make_task(device="cuda", dataset=SOME, tactic=(name,)) for name in ("baseline", "tf32")}
    done = {name: drive(task, within=board).done for name, task in tasks.items()}
    assert (done["baseline"].settings["tf32"], done["baseline"].settings["float32_matmul_precision"]) == (False, "highest")
    assert (done["tf32"].settings["tf32"], done["tf32"].settings["float32_matmul_precision"]) == (True, "high")
    assert done["tf32"].settings["cudnn_benchmark"] is False
    assert done["tf32"].evidence["tf32"]["product_error"] > 1e-5


def test_the_row_says_which_attention_was_measured() -> None:
    assert drive(make_task(dataset=SOME)).done.attention == "sdpa"
    assert drive(make_task(dataset=SOME, tactic=("attention",))).done.attention == "eager"


def test_what_cannot_run_is_refused_before_anything_is_loaded(board: Callable[[], AbstractContextManager[None]]) -> None:
    conversation = drive(make_task(device="cuda", dataset=SOME, tactic=("bf16", "int8-dynamic")), within=board)
    assert conversation.failed.status == "unsupported"
    assert conversation.failed.error.endswith("write int8-dynamic+compile")
    assert not conversation.of("load")


def test_channels_last_is_trained_and_saved_in_the_usual_order(tmp_path: Path) -> None:
    task = make_task(
        phase="training",
        model=preset("resnet"),
        dataset=SOME,
        hyperparameters=ONE_EPOCH,
        tactic=("channels-last",),
        save_to=tmp_path,
    )
    done = drive(task).done
    assert done.evidence["channels-last"]["convolutions_channels_last"] > 0
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["tf32", "bf16", "prune-local"])
def test_a_tactic_is_trained_with_on_a_board(name: str, board: Callable[[], AbstractContextManager[None]]) -> None:
    task = make_task(
        device="cuda", phase="training", model=preset("resnet"), dataset=SOME, hyperparameters=ONE_EPOCH, tactic=(name,)
    )
    done = drive(task, within=board).done
    assert done.evidence[name]
    assert done.settings["precision"] == "fp32"


def test_what_is_trained_in_already_is_seen_before_anything_is_loaded(
    board: Callable[[], AbstractContextManager[None]],
) -> None:
    hyper = ONE_EPOCH.model_copy(update={"precision": "tf32"})
    task = make_task(device="cuda", phase="training", dataset=SOME, hyperparameters=hyper, tactic=("tf32",))
    conversation = drive(task, within=board)
    assert conversation.failed.status == "not_applied"
    assert not conversation.of("load")


@pytest.mark.parametrize("name", ["int8-weight-only", "fp8-dynamic"])
def test_quantised_models_are_not_trained(name: str) -> None:
    conversation = drive(make_task(phase="training", dataset=SOME, hyperparameters=ONE_EPOCH, tactic=(name,)))
    assert "inference experiment" in conversation.failed.error
    assert not conversation.of("load")
