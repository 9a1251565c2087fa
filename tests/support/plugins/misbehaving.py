"""A tactic that does, inside a cell, what users' models do on bad days."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class MisbehaveParams(Params):
    """What to do."""

    how: Literal["raise", "segfault", "allocate", "ignore-sigterm", "kill-worker", "wait"] = "raise"


class Misbehave(Tactic[MisbehaveParams]):
    """Ends its cell in the given way; `wait` goes on, unchanged, when the test lets it."""

    name = "misbehave"
    summary = "Fails on purpose."
    Params = MisbehaveParams

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        how = self.params.how
        if how == "raise":
            raise RuntimeError("on purpose")
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "allocate":
            kept = []
            while True:
                kept.append(bytearray(os.urandom(1 << 20)) * 64)
        if how == "wait":
            gate = Path(os.environ["GREENRAY_TEST_GATE"])
            (gate / "arrived").touch()
            while not (gate / "open").exists():
                time.sleep(0.01)
            return model
        if how == "ignore-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if how == "kill-worker":
            server = os.getppid()
            worker = int(Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[1])
            os.kill(worker, signal.SIGKILL)
        time.sleep(3600)
        return model
