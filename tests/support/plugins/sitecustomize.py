"""Adds the tests' own tactic and task to every process (driver, workers, fork server, cells), and a device to cells."""

import os
import sys

import pretend_cuda

from greenray.tactics.registry import TACTICS
from greenray.tasks.registry import TASKS

TACTICS["misbehave"] = "misbehaving:Misbehave"
TASKS["text-classification"] = "text_classification.task:TextClassification"

if pretend_cuda.BOARDS in os.environ:
    # Of all processes here only fork servers have torch when they fork, and only to make a cell.
    os.register_at_fork(after_in_child=lambda: pretend_cuda.install() if "torch" in sys.modules else None)
    if "greenray.processes.child" in sys.orig_argv:  # spawned, to be a cell
        pretend_cuda.install()
