"""`make gpu-check`: the instrument on a real board, with a report that is written anew as each section ends.

    python -m tests.gpu_check.check --part 1                         # a first session on a board, part by part, 1 to 5
    python -m tests.gpu_check.check --sections 1,2,6 --keep-traces DIR    # some sections, with traces to keep as test data
    python -m tests.gpu_check.check --quick                          # a look at everything

Without a GPU that torch can use it says so in one sentence and ends with 0. Else: 0 when every section is ok or unclear, 1
when one is off, failed or cut short, 2 for bad arguments. What it needs, on a host where GreenRay is not installed either, and
the commands of a first session stand in the README beside this file.

Time: every section has a limit (`tests.gpu_check.sections`), and the whole has one (`--limit-s`, 540). What is past it is
killed, and the report says so. Each part fits into that; all of them together do so with --quick only.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenray import __version__
from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu
from tests.gpu_check import report
from tests.gpu_check.finding import Finding, finding_of
from tests.gpu_check.load import ROOT
from tests.gpu_check.rig import first_board
from tests.gpu_check.sections import LOAD, ORDER, PARTS, SECTIONS

LIMIT_S = 540.0
LEAST_S = 3.0
QUICK = 0.3
_TORCH = (
    "import torch\n"
    "if not torch.cuda.is_available():\n"
    "    built = 'is built without CUDA' if torch.version.cuda is None else 'finds no usable CUDA device'\n"
    "    raise SystemExit(f'torch {torch.__version__} {built}')\n"
    "assert float((torch.ones(8, 8, device='cuda') @ torch.ones(8, 8, device='cuda')).sum()) == 512\n"
    "print(torch.__version__)\n"
)


def find_gpu(load: str = LOAD) -> tuple[dict[str, Any], str | None]:
    """What the check runs on, or ({}, why there is nothing to run it on)."""
    try:
        board, every = first_board()
    except MeasurementError as error:
        return {}, str(error)
    host: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "board": board.name,
        "uuid": board.uuid,
        "boards": len(every),
        "driver": board.driver_version,
        "power limit W": board.power_limit_w,
        "persistence": {True: "on", False: "off", None: None}[board.details()["persistence"]],
        "processes on it": _processes(board),
        "host": f"{platform.release()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "greenray": __version__,
    }
    if load != LOAD:
        return host | {"load": load}, None
    # In a process of its own: this one must hold no context while idle power is measured.
    try:
        environ = {**os.environ, "CUDA_VISIBLE_DEVICES": board.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        done = subprocess.run(
            [sys.executable, "-c", _TORCH], env=environ, capture_output=True, text=True, timeout=180, check=False
        )
    except subprocess.TimeoutExpired:
        return {}, "torch did not answer within 180 s"
    if done.returncode != 0:
        return {}, (done.stderr.strip().splitlines() or ["torch cannot be imported"])[-1]
    return host | {"torch": done.stdout.strip()}, None


def run_all(
    numbers: Sequence[int],
    *,
    out: Path,
    host: Mapping[str, Any],
    limit_s: float = LIMIT_S,
    scale: float = 1.0,
    load: str = LOAD,
    keep: Path | None = None,
) -> dict[int, Finding]:
    """Runs the sections one after the other and writes the report after each."""
    titles = {number: SECTIONS[number].title for number in numbers}
    findings: dict[int, Finding] = {}
    until_s = time.monotonic() + limit_s
    report.write(out, host=host, titles=titles, findings=findings)
    for number in numbers:
        started_s = time.monotonic()
        part_s = min(SECTIONS[number].limit_s, until_s - started_s)
        if part_s < LEAST_S:
            findings[number] = Finding(verdict="cut short", summary="It was not begun: no time was left.")
        else:
            findings[number] = _in_child(number, limit_s=part_s, scale=scale, load=load, keep=keep)
        report.write(out, host=host, titles=titles, findings=findings)
        took_s = time.monotonic() - started_s
        print(f"{number} {titles[number]}: {findings[number].verdict} ({took_s:.0f} s). {findings[number].summary}", flush=True)
    return findings


def _in_child(number: int, *, limit_s: float, scale: float, load: str, keep: Path | None) -> Finding:
    """One section in a process group of its own, which does not outlive its time."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        file = Path(folder) / "finding.json"
        arguments = [str(number), "--json", str(file), "--load", load, "--scale", str(scale), "--limit-s", str(limit_s)]
        arguments += ["--parent", str(os.getpid())]
        if keep is not None:
            arguments += ["--keep-traces", str(keep)]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (Path(folder) / "stderr").open("w+") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.gpu_check.sections", *arguments],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return Finding(verdict="cut short", summary=f"It was not done after its {limit_s:.0f} s and was stopped.")
            finally:
                # Also when the check itself is interrupted, and for what a section has left behind.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
            stderr.seek(0)
            said = stderr.read().strip().splitlines()
        if not file.exists():
            last = said[-1][:300] if said else "it said nothing"
            return Finding(verdict="failed", summary=f"The section's process ended with {process.returncode}: {last}")
        return finding_of(json.loads(file.read_text(encoding="utf-8")))


def _processes(gpu: Gpu) -> Any:
    pids = gpu.processes()
    return None if pids is None else len(pids)


def _numbers(text: str) -> list[int]:
    """`1,2,5` as numbers, in that order; argparse makes a ValueError an error of the command line."""
    numbers = list(dict.fromkeys(int(part) for part in text.split(",")))
    if not set(numbers) <= set(SECTIONS):
        raise ValueError
    return numbers


_numbers.__name__ = f"list of sections ({min(SECTIONS)} to {max(SECTIONS)}, as 1,2,5)"  # what argparse calls it


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check.check", description="Check the instrument on a real board.")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--sections", type=_numbers, default=list(ORDER), help="for example 1,2,5  [default: all]")
    chosen.add_argument("--part", type=int, choices=list(PARTS), help="a part of a first session, with its sections in order")
    parser.add_argument("--out", type=Path, default=Path("results/gpu-check"), help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="shorter recordings: a look, not a result")
    parser.add_argument("--scale", type=float, help="factor on the lengths of all recordings  [default: 1, with --quick 0.3]")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds for everything  [default: 540]")
    parser.add_argument("--keep-traces", type=Path, metavar="DIR", help="keep a few short traces there (sections 1 and 2)")
    parser.add_argument("--load", default=LOAD, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    scale = asked.scale if asked.scale is not None else QUICK if asked.quick else 1.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the section that runs is ended as well
    started_s = time.monotonic()
    host, why = find_gpu(asked.load)
    if why is not None:
        print(f"gpu-check is skipped: there is no GPU that torch can use ({why.rstrip('.')}).")
        return 0
    host["recordings"] = "full length" if scale == 1 else f"{scale:g} of the full length: a look, not a result"
    left_s = asked.limit_s - (time.monotonic() - started_s)
    keep = None if asked.keep_traces is None else asked.keep_traces.resolve()
    numbers = asked.sections if asked.part is None else PARTS[asked.part]
    findings = run_all(numbers, out=asked.out, host=host, limit_s=left_s, scale=scale, load=asked.load, keep=keep)
    print(f"{report.summary(findings)}; report: {asked.out / report.NAME}.md")
    return 0 if all(finding.verdict in ("ok", "unclear") for finding in findings.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
