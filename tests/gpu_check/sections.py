"""The sections of the check, and the process in which one of them runs.

Each runs in a process group of its own, which is killed when the section's time is up: a section that hangs or that
poisons its CUDA context harms no other.

python -m tests.gpu_check.sections NUMBER --json FILE --limit-s SECONDS ...        (started by tests.gpu_check.check)
"""

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gpu_check.finding import Finding

LOAD = "tests.gpu_check.load:open_load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """`target` is module:function and takes a Rig; `limit_s` is the longest that the section may take."""

    title: str
    target: str
    limit_s: float


SECTIONS: dict[int, Section] = {
    1: Section(title="counter and instant power", target="tests.gpu_check.counter:run", limit_s=60),
    2: Section(title="counter against integrated power", target="tests.gpu_check.agreement:run", limit_s=100),
    3: Section(title="idle", target="tests.gpu_check.idle:run", limit_s=85),
    4: Section(title="error against window length", target="tests.gpu_check.windows:run", limit_s=150),
    5: Section(title="cost of looking", target="tests.gpu_check.overhead:run", limit_s=95),
    6: Section(title="identity", target="tests.gpu_check.identity:run", limit_s=60),
    7: Section(title="ViT-B under every tactic", target="tests.gpu_check.sweeps:run_vit", limit_s=530),
    8: Section(title="quickstart under every tactic", target="tests.gpu_check.sweeps:run_quickstart", limit_s=530),
    9: Section(title="imports and the fork server", target="tests.gpu_check.starting:run", limit_s=120),
    10: Section(title="latency of each call", target="tests.gpu_check.latency:run", limit_s=90),
    11: Section(title="does looking wake the board", target="tests.gpu_check.watching:run", limit_s=150),
    12: Section(title="waiting after every batch", target="tests.gpu_check.loops:run", limit_s=200),
    13: Section(title="int8 eager and compiled", target="tests.gpu_check.quantised:run", limit_s=160),
    14: Section(title="two minutes from cold", target="tests.gpu_check.warming:run", limit_s=215),
    15: Section(title="training data", target="tests.gpu_check.feeding:run", limit_s=80),
    16: Section(title="a full board and a killed process", target="tests.gpu_check.ends:run", limit_s=150),
}
PARTS: dict[int, tuple[int, ...]] = {1: (9, 10, 1, 2, 6, 11, 3), 2: (4, 5, 12, 13), 3: (14, 15, 16), 4: (7,), 5: (8,)}
"""A first session on a board, in its order, in parts that each fit into the time of one run; see the README beside this file."""
ORDER = tuple(number for part in PARTS.values() for number in part)


def attribute(target: str) -> Any:
    """What `module:name` names, imported now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def run_section(number: int, *, load: str, scale: float, limit_s: float, keep: Path | None) -> Finding:
    """One section from beginning to end; whatever goes wrong in it is its finding."""
    deadline_s = time.monotonic() + limit_s
    try:
        from tests.gpu_check.rig import open_rig

        with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
            rig = open_rig(attribute(load), folder=Path(folder), scale=scale, deadline_s=deadline_s, keep=keep)
            try:
                found: Finding = attribute(SECTIONS[number].target)(rig)
            finally:
                rig.load.close()
    except Exception as error:  # sections are independent: the others go on
        sentence = " ".join(str(error).split())[:400] or "no reason was given"
        return Finding(verdict="failed", summary=f"{type(error).__name__}: {sentence}")
    return found


def end_with(parent: int) -> None:
    """Ends this process and its group when the check, its parent, is gone, even if it was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str]) -> int:
    """Runs the section and writes its finding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--load", default=LOAD)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--limit-s", type=float, default=120.0)
    parser.add_argument("--keep-traces", type=Path)
    parser.add_argument("--parent", type=int, help="the check's process; without it the section runs for itself")
    asked = parser.parse_args(argv)
    if asked.parent is not None:
        end_with(asked.parent)
    found = run_section(asked.number, load=asked.load, scale=asked.scale, limit_s=asked.limit_s, keep=asked.keep_traces)
    partial = asked.json.with_suffix(".partial")
    partial.write_text(json.dumps(found.as_json()), encoding="utf-8")
    partial.replace(asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
