"""Whether a board still works, asked of simulated ones; and after which ends of a cell it is asked."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from greenray.cell.protocol import Failed
from greenray.worker.board import fault_of, may_be_the_boards
from greenray.worker.supervise import Outcome
from tests.simnvml import uuid_of

# Boards of which something befalls between the worker's start and the question. Argument: a control file.
ASK = """
import json, sys, time
from pathlib import Path
from greenray.gpu.registry import resolve
from greenray.worker.board import fault_of
from tests.simnvml import write_control

control = Path(sys.argv[1])
gpus = [resolve(str(number)) for number in range(5)]
now = time.monotonic()
write_control(control, **{"1.xid_from": now, "2.frozen_from": now, "3.lost_from": now})
fine = lambda: None
answers = [fault_of(gpu, period_s=0.02, compute=fine) for gpu in gpus]
answers.append(fault_of(gpus[0], period_s=0.02, compute=lambda: "torch cannot use CUDA: CUDA error: unknown error."))
answers.append(fault_of(gpus[4], period_s=None, compute=fine))
print(json.dumps(answers))
"""


def test_a_board_that_cannot_be_read_or_does_not_compute_is_told_with_the_reason(
    python: Callable[..., str], simnvml: Path, tmp_path: Path
) -> None:
    from tests.simnvml import Board, environment

    boards = [Board(), Board(), Board(), Board(), Board(more={"no_counter": 1})]
    env = environment(simnvml, boards=boards, control=tmp_path / "control")
    answers = json.loads(python(ASK, tmp_path / "control", env=env))
    assert answers == [
        None,
        f"board {uuid_of(1)} failed: its energy counter cannot be read any more",
        f"board {uuid_of(2)} failed: its energy counter stands still",
        f"board {uuid_of(3)} failed: it no longer answers",
        f"board {uuid_of(4)} failed: its energy counter cannot be read any more",  # where one moved before
        f"board {uuid_of(0)} failed: torch cannot use CUDA: CUDA error: unknown error",
        None,  # it never had one
    ]


class Meter:
    """Of a board whose counter moves, and that answers to `silent` of the first readings with an error."""

    lost, counter_missing, power_source = False, None, "gpu"

    def __init__(self, *, silent: float) -> None:
        self.fault: str | None = None
        self._silent, self._asked = silent, 0

    def sample(self) -> tuple[float, float]:
        self._asked += 1
        before = self._asked == 1  # the reading before the task
        self.fault = None if before or self._asked - 1 > self._silent else "the board does not answer (Timeout)"
        return (math.nan, math.nan) if self.fault else (float(self._asked), 300.0)

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(("silent", "reason"), [(1, None), (math.inf, "board b failed: the board does not answer (Timeout)")])
def test_one_reading_that_fails_is_no_fault_of_the_board(silent: float, reason: str | None) -> None:
    board: Any = SimpleNamespace(uuid="b", meter=lambda: Meter(silent=silent))
    assert fault_of(board, period_s=0.02, compute=lambda: None) == reason


def failed(**fields: Any) -> Outcome:
    word = Failed(**{"status": "failed", "error": "no", **fields})
    return Outcome(status=word.status, error=word.error, error_kind="exception", failed=word)


@pytest.mark.parametrize(
    ("outcome", "ready", "asked"),
    [
        (failed(device_error=True), True, True),
        (failed(), True, False),  # an error of its own
        (failed(), False, True),  # it never had its device
        (failed(refused=True), False, False),
        (failed(status="oom"), False, False),
        (failed(status="unsupported"), False, False),
        (Outcome(status="crashed", error="gone", error_kind="signal"), True, True),
        (Outcome(status="timeout", error="late", error_kind="deadline"), True, True),
        (Outcome(status="oom", error="much", error_kind="memory"), True, False),
        (Outcome(status="ok"), True, False),
    ],
)
def test_a_board_is_looked_at_after_what_may_be_its_doing(outcome: Outcome, ready: bool, asked: bool) -> None:
    assert may_be_the_boards(outcome, ready=ready) is asked
