"""Adds the tests' own tactics to the registry of every process (driver, workers, fork server, cells), and a device to cells."""

import os
import sys

import pretend_cuda

from greenray.tactics.registry import TACTICS

TACTICS["misbehave"] = "misbehaving:Misbehave"

if pretend_cuda.BOARDS in os.environ:
    # Of all processes here only fork servers have torch when they fork, and only to make a cell.
    os.register_at_fork(after_in_child=lambda: pretend_cuda.install() if "torch" in sys.modules else None)
