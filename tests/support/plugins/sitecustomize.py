"""Adds the tests' own tactic and task to every process (driver, workers, fork server, cells), and a device to cells."""

import os
import sys

import pretend_cuda

from greenray.tactics.registry import TACTICS
from greenray.tasks.registry import TASKS

TACTICS["misbehave"] = "misbehaving:Misbehave"
TASKS["text-classification"] = "text_classification.task:TextClassification"


def play_a_board() -> None:
    """Of all processes here only fork servers have torch when they fork, and only to make a cell."""
    if "torch" in sys.modules:
        import board_arithmetic  # needs torch

        pretend_cuda.install()
        board_arithmetic.install()


if pretend_cuda.BOARDS in os.environ:
    os.register_at_fork(after_in_child=play_a_board)
    if "greenray.processes.child" in sys.orig_argv:  # spawned, to be a cell
        import torch  # noqa: F401  (play_a_board looks for it)

        play_a_board()
