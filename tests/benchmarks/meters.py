"""GreenRay, Zeus, CodeCarbon and the plain difference of the energy counter on the same simulated boards, against the truth.

    python -m tests.benchmarks.meters [--quick] [--json FILE]

Every board draws a wave whose energy between two moments is known in closed form, and moves its counter now and then. A process
with the peers marks windows of 0.3, 1 and 3 s at random moments and measures each with all of them at once (peer_meters.py). A
second process records the same board with GreenRay's instrument, as a sweep's worker does, and reads the very windows that Zeus
measured. Each meter is held to the truth of its own interval: for the peers from the moment at which the meter itself read the
counter first to that at which it read it last, so that the time that its calls take is not held against it. Then a few runs of
`greenray measure -- sleep T`, held to the interval that it prints.

The instant power that the simulated boards tell is the truth of the moment; one or two more ("dull") tell it late and 3 % off,
and two ("together") renew it, averaged over 25 ms, when they move their counter: every 100 ms, give or take 20.

CodeCarbon takes a host without `nvidia-smi` for one without a GPU and counts 0 J; the benchmark puts a stand-in on its PATH, and
shows the other row as well. The peers live in a virtual environment of their own (`.venv-meters`). Where it cannot be made, the
plain difference, which is also what Zeus and CodeCarbon compute, stands for them.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.meters_table import Outcome, print_tables
from tests.benchmarks.paired import Neighbours
from tests.simnvml import Board, build, environment, true_energy_j
from tests.support import ROOT

VENV = ROOT / ".venv-meters"
PACKAGES = ("zeus==0.16.0", "codecarbon==3.3.2")
PEERS = ("codecarbon", "zeus-instant", "zeus", "counter")  # the first is the outermost window
REFERENCE = Board(wave="square", low_w=80, high_w=620, period_s=0.7, duty=0.4, counter_ms=100)
AT_ONCE = 7
"""Boards at a time. Windows are sleeps, but each board has two processes that wake up."""
_PATIENCE_S = 120.0


def boards(*, quick: bool) -> list[Board]:
    """Three waves on two counters, without and with jitter of the counter; periods, duties and phases of all sorts."""
    odd = {"square": (1.3, 0.25), "ramp": (0.45, 0.5), "sine": (1.9, 0.5)}
    found = []
    for wave, counter_ms, jitter_ms in itertools.product(odd, (100.0, 20.0), (0.0, 2.0)):
        period_s, duty = (0.7, 0.4) if jitter_ms == 0 else odd[wave]
        number = len(found)
        board = Board(
            wave=wave,
            low_w=80,
            high_w=620,
            period_s=period_s,
            duty=duty,
            phase_s=0.137 * number * period_s,
            counter_ms=counter_ms,
            jitter_ms=jitter_ms,
            offset_ms=7.3 * number % counter_ms,
        )
        found.append(board)
    found[0] = REFERENCE
    return [found[0], found[3], found[5], found[10]] if quick else found


def dull_boards(*, quick: bool) -> list[Board]:
    """Boards whose instant power is not the truth: it moves every 25 ms and is 3 % off, and targets do not count them."""
    dull = replace(REFERENCE, instant_ms=25, gain=1.03)
    return [dull] if quick else [replace(dull, counter_ms=ms) for ms in (100.0, 20.0)]


def together_boards() -> list[Board]:
    """Boards like A100 and H100 (Yang et al., arXiv 2312.02741): all that they tell is renewed at one uncertain moment."""
    slow = replace(REFERENCE, jitter_ms=20, offset_ms=31, instant_in_step=True, instant_mean_ms=25)
    return [slow, replace(slow, low_w=110, high_w=480, period_s=0.31, duty=0.5, phase_s=0.1, offset_ms=77)]


def power_of(board: Board) -> str:
    """What the board's power is like, see `Outcome`."""
    return "together" if board.instant_in_step else "dull" if board.instant_ms else "fresh"


def name_of(board: Board) -> str:
    """The board in a line of a table."""
    wave = f"{board.wave} {board.duty:g}" if board.wave == "square" else board.wave
    power = "" if power_of(board) == "fresh" else f" ({power_of(board)})"
    return f"{wave:11}{board.period_s:4g} s, {board.counter_ms:3g} +-{board.jitter_ms:g} ms{power}"


def outcome_of(meter: str, board: Board, window: Sequence[float], *, length_s: float, **said: Any) -> Outcome:
    """What a meter says of a window (start, end), beside the truth."""
    return Outcome(
        meter=meter,
        board=name_of(board),
        length_s=length_s,
        truth_j=true_energy_j(board, window[0], window[1]),
        power=power_of(board),
        **said,
    )


def plan_of(seed: int, *, quick: bool) -> list[tuple[float, float]]:
    """The windows of one board in random order: (gap before it, its length), s."""
    dice = random.Random(seed)
    counts = {0.3: 12, 1.0: 7, 3.0: 3} if quick else {0.3: 36, 1.0: 16, 3.0: 12}
    lengths = [length_s for length_s, count in counts.items() for _ in range(count)]
    dice.shuffle(lengths)
    return [(dice.uniform(0.02, 0.25), length_s) for length_s in lengths]


class Room:
    """Where the benchmark runs: the simulated NVML, the stand-in for `nvidia-smi`, an empty home, logs."""

    def __init__(self, folder: Path, *, peers_missing: bool) -> None:
        self.folder = folder
        self.library = build(folder / "nvml")
        self.meters = ("counter",) if peers_missing else PEERS
        self.python = sys.executable if peers_missing else str(peers.python_of(VENV))
        shim = folder / "bin" / "nvidia-smi"
        shim.parent.mkdir()
        shim.write_text("#!/bin/sh\nexit 0\n")
        shim.chmod(0o755)
        self._log_numbers = itertools.count()

    def environ(self, board: Board, *, shim: bool) -> dict[str, str]:
        # CUDA_VISIBLE_DEVICES would choose among boards that are not there; the home holds the peers' settings.
        inherited = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        own = {"HOME": str(self.folder)}
        if shim:
            own["PATH"] = f"{self.folder / 'bin'}:{inherited.get('PATH', '')}"
        return {**inherited, **environment(self.library, boards=[board]), **own}

    @contextlib.contextmanager
    def process(self, command: Sequence[str], *, env: Mapping[str, str]) -> Iterator["Talk"]:
        log = self.folder / f"{next(self._log_numbers)}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            watch = threading.Timer(_PATIENCE_S * 3, process.kill)
            watch.start()
            try:
                yield Talk(process, log)
            finally:
                watch.cancel()
                process.kill()
                process.communicate()


class Talk:
    """Lines to and from a process."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is noticed by the one who listens
            print(line, file=self._process.stdin, flush=True)

    def hear(self, *, ready: bool) -> Any:
        """Wait for the line `ready`, or for one of JSON; other lines are the chatter of libraries."""
        for line in self._process.stdout or ():
            if ready and line == "ready\n":
                return None
            if not ready and line.startswith(("[[", "[{")):
                return json.loads(line)
        words = self._log.read_text().strip().splitlines()
        raise RuntimeError(words[-1] if words else "a meter's process ended without a word")


def measure_board(room: Room, board: Board, *, seed: int, quick: bool, turn: threading.Semaphore) -> list[Outcome]:
    """All windows of one board, by all meters."""
    plan = plan_of(seed, quick=quick)
    env = room.environ(board, shim=True)
    ours = [sys.executable, "-m", "tests.benchmarks.own_meter"]
    theirs = [room.python, str(Path(__file__).with_name("peer_meters.py")), ",".join(room.meters)]
    with contextlib.ExitStack() as stack:
        with turn:  # starting takes processor time; a few at a time, so that none is disturbed while it looks at its board
            peer = stack.enter_context(room.process(theirs, env=env))
            peer.tell(json.dumps(plan))
            peer.hear(ready=True)
            own = stack.enter_context(room.process(ours, env=env))
            own.hear(ready=True)
        peer.tell("go")
        windows = peer.hear(ready=False)
        marked = [window["zeus" if "zeus" in window else "counter"][:2] for window in windows]
        own.tell(json.dumps(marked))
        readings = own.hear(ready=False)
    found = []
    for (_, length_s), window, mark, (energy_j, error_j, reasons) in zip(plan, windows, marked, readings, strict=True):
        found += [
            outcome_of(meter, board, times_s, length_s=length_s, energy_j=said_j) for meter, (*times_s, said_j) in window.items()
        ]
        said = {"energy_j": energy_j, "error_j": error_j, "reason": ", ".join(reasons)}
        found.append(outcome_of("greenray", board, mark, length_s=length_s, **said))
    return found


def measure_command(room: Room, board: Board, *, length_s: float) -> Outcome:
    """One run of `greenray measure -- sleep T`."""
    with tempfile.TemporaryDirectory(dir=room.folder) as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "greenray.cli.app", "measure", "--json", str(path), "--", "sleep", str(length_s)]
        env = room.environ(board, shim=False)
        subprocess.run(command, env=env, cwd=ROOT, capture_output=True, timeout=_PATIENCE_S, check=True)
        figures = json.loads(path.read_text())
    window = (figures["start_monotonic_s"], figures["end_monotonic_s"])
    gpu = figures["gpus"][0]
    said = {"energy_j": gpu["energy_j"], "error_j": gpu["error_j"], "reason": ", ".join(gpu["reasons"])}
    return outcome_of("measure", board, window, length_s=length_s, **said)


def measure_blind(room: Room) -> list[Outcome]:
    """CodeCarbon as it is on a host whose NVML has no `nvidia-smi` beside it."""
    plan = [(0.05, length_s) for length_s in (0.3, 1.0, 3.0) for _ in range(2)]
    command = [room.python, str(Path(__file__).with_name("peer_meters.py")), "codecarbon"]
    with room.process(command, env=room.environ(REFERENCE, shim=False)) as peer:
        peer.tell(json.dumps(plan))
        peer.hear(ready=True)
        peer.tell("go")
        windows = peer.hear(ready=False)
    found = []
    for (_, length_s), window in zip(plan, windows, strict=True):
        *times_s, said_j = window["codecarbon"]
        found.append(outcome_of("codecarbon-blind", REFERENCE, times_s, length_s=length_s, energy_j=said_j))
    return found


def run(folder: Path, *, quick: bool, peers_missing: bool, only: str = "") -> list[Outcome]:
    """Everything, or the boards of one sort of power; the boards a few at a time."""
    room = Room(folder, peers_missing=peers_missing)
    specs = [*boards(quick=quick), *dull_boards(quick=quick), *together_boards()]
    specs = [board for board in specs if only in ("", power_of(board))]
    turn = threading.Semaphore(2)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        parts = [pool.submit(measure_board, room, board, seed=seed, quick=quick, turn=turn) for seed, board in enumerate(specs)]
        outcomes = [outcome for part in parts for outcome in part.result()]
    chosen = ([*specs[:3:2]] if quick else specs[:8]) + [board for board in specs[8:] if power_of(board) == "together"]
    with ThreadPoolExecutor(max_workers=3) as pool:
        runs = [pool.submit(measure_command, room, board, length_s=t) for t in (0.3, 1.0, 3.0) for board in chosen]
        blind = None if peers_missing or shutil.which("nvidia-smi") else pool.submit(measure_blind, room)
        outcomes += [each.result() for each in runs]
        outcomes += blind.result() if blind else []
    return outcomes


def main() -> int:
    """Print the tables; 0 if every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four boards and fewer windows: under a minute")
    parser.add_argument("--json", type=Path, help="write every window to this file")
    parser.add_argument("--only", default="", choices=("fresh", "dull", "together"), help="boards of this sort of power")
    options = parser.parse_args()
    problem = peers.install(VENV, PACKAGES)
    if problem is not None:
        print(f"Zeus and CodeCarbon are not run: {problem}. The plain difference of the counter stands for them.")
    neighbours = Neighbours()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), quick=options.quick, peers_missing=problem is not None, only=options.only)
    print(f"others kept {neighbours.cores():.2f} of {os.cpu_count()} cores busy")
    if options.json is not None:
        options.json.write_text(json.dumps([outcome.as_json() for outcome in outcomes]))
    return 0 if print_tables(outcomes, rival="counter" if problem is not None else "zeus") else 1


if __name__ == "__main__":
    sys.exit(main())
