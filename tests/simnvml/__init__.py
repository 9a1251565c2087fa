"""A simulated NVML: boards with known power, so that the true energy of any window is known.

    folder = build(tmp_path)
    env = {**os.environ, **environment(folder, boards=[Board(wave="square", low_w=80, high_w=620)])}
    subprocess.run([...], env=env)          # nvidia-ml-py and Ray both see the boards
    true_energy_j(board, start_s, end_s)    # CLOCK_MONOTONIC, the same closed form as in simnvml.c

The library is loaded once a process, so whatever looks at the boards runs in a subprocess.
"""

import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

MAX_BOARDS = 32  # as in simnvml.c
_WORD = (1 << 64) - 1
SOURCE = Path(__file__).with_name("simnvml.c")
DRIVER_VERSION = "570.00.SIM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One simulated board; `more` holds further keys of `set_key` in simnvml.c (faults, name, processes, ...).

    Moments of the counter's updates are `offset_ms` + k * `counter_ms`, each off by up to `jitter_ms`. The instant power is fresh
    at every read, or renewed every `instant_ms`, or, `instant_in_step`, whenever the counter moves; a renewal tells the mean of
    the `instant_mean_ms` before it, times `gain`. A100 and H100 (Yang et al., arXiv 2312.02741): 25 ms out of every 100 ms.
    """

    wave: str = "const"
    low_w: float = 80.0
    high_w: float = 300.0
    period_s: float = 1.0
    duty: float = 0.5
    phase_s: float = 0.0
    counter_ms: float = 20.0
    jitter_ms: float = 0.0
    offset_ms: float = 0.0
    gain: float = 1.0
    instant_ms: float = 0.0
    instant_jitter_ms: float = 0.0
    instant_offset_ms: float = 0.0
    instant_mean_ms: float = 0.0
    instant_in_step: bool = False
    more: Mapping[str, object] = field(default_factory=dict)

    def entries(self, index: int) -> list[str]:
        values = {key.name: getattr(self, key.name) for key in fields(self) if key.name != "more"} | dict(self.more)
        numbers = {key: int(value) if isinstance(value, bool) else value for key, value in values.items()}
        return [f"{index}.{key}={value}".replace(" ", "_") for key, value in numbers.items()]


def build(folder: Path) -> Path:
    """Compiles the library into `folder` and returns its path; nothing is done when it is already up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        partial = folder / f".libnvidia-ml.{os.getpid()}"
        command = [
            os.environ.get("CC", "cc"),
            "-O2",
            "-Wall",
            "-Wextra",
            "-fPIC",
            "-shared",
            "-o",
            str(partial),
            str(SOURCE),
            "-lm",
        ]
        subprocess.run(command, check=True, timeout=120)
        partial.replace(library)
    return library


def environment(
    library: Path,
    *,
    boards: Sequence[Board] | int = 1,
    control: Path | None = None,
    driver_missing: bool = False,
) -> dict[str, str]:
    """Variables that put the library in NVML's place; add them to the environment of a subprocess.

    Args:
        library: what `build` returned, or its folder.
        boards: the boards, or how many default ones (300 W, 20 ms counter).
        control: a file of entries that is read again whenever it changes; see `write_control`.
        driver_missing: initialisation fails as it does without a driver.
    """
    specs = [Board() for _ in range(boards)] if isinstance(boards, int) else list(boards)
    entries = [f"boards={len(specs)}", f"driver_missing={int(driver_missing)}"]
    entries += [entry for index, board in enumerate(specs) for entry in board.entries(index)]
    if control is not None:
        entries.append(f"control={control}")
    folder = library if library.is_dir() else library.parent
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": f"{folder}:{path}" if path else str(folder), "GREENRAY_SIMNVML": " ".join(entries)}


def write_control(path: Path, **entries: object) -> None:
    """Changes boards while they run: `write_control(path, **{"0.lost_from": 1})`. Replaces the file atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(f"{key}={value}" for key, value in entries.items()) + "\n")
    partial.replace(path)


def uuid_of(index: int) -> str:
    """UUID of the board of that index, unless `more` set another."""
    return f"GPU-{0x51A00000 + index * 0x1111:08x}-0000-4000-8000-{index:012x}"


def power_w(board: Board, t_s: float) -> float:
    """True power at one moment."""
    x = (t_s + board.phase_s) / board.period_s % 1.0
    swing = board.high_w - board.low_w
    match board.wave:
        case "square":
            return board.high_w if x < board.duty else board.low_w
        case "ramp":
            return board.low_w + swing * x
        case "sine":
            return board.low_w + swing * (1 - math.cos(2 * math.pi * x)) / 2
    return board.high_w


def true_energy_j(board: Board, start_s: float, end_s: float) -> float:
    """True energy between two moments of CLOCK_MONOTONIC, J."""
    return _integral_j(board, end_s) - _integral_j(board, start_s)


def _integral_j(board: Board, t_s: float) -> float:
    turns = (t_s + board.phase_s) / board.period_s
    whole = math.floor(turns)
    x = turns - whole
    low, swing = board.low_w, board.high_w - board.low_w
    match board.wave:
        case "square":
            turn, part = low + swing * board.duty, low * x + swing * min(x, board.duty)
        case "ramp":
            turn, part = low + swing / 2, low * x + swing * x * x / 2
        case "sine":
            turn, part = low + swing / 2, low * x + swing * (x / 2 - math.sin(2 * math.pi * x) / (4 * math.pi))
        case _:
            turn, part = board.high_w, board.high_w * x
    return board.period_s * (whole * turn + part)


def counter_j(board: Board, t_s: float, *, index: int = 0) -> float:
    """What the counter of the board of that index reads at a moment, J, less its `base_j`: whole millijoules."""
    return math.floor(1000 * _integral_j(board, update_s(board, t_s, index=index))) / 1000


def instant_w(board: Board, t_s: float, *, index: int = 0) -> float:
    """The instant power that the board of that index tells at a moment."""
    if board.instant_in_step:
        t_s = update_s(board, t_s, index=index)
    elif board.instant_ms > 0:
        grid = (board.instant_ms, board.instant_jitter_ms, board.instant_offset_ms)
        t_s = _last_of_grid_s(index + MAX_BOARDS, t_s, *grid)
    length_s = board.instant_mean_ms * 1e-3
    told_w = true_energy_j(board, t_s - length_s, t_s) / length_s if length_s > 0 else power_w(board, t_s)
    return math.floor(1000 * board.gain * told_w) / 1000


def update_s(board: Board, t_s: float, *, index: int = 0) -> float:
    """The last moment up to t_s at which the counter of the board of that index moved."""
    return _last_of_grid_s(index, t_s, board.counter_ms, board.jitter_ms, board.offset_ms)


def _last_of_grid_s(stream: int, t_s: float, step_ms: float, jitter_ms: float, offset_ms: float) -> float:
    step_s, offset_s = step_ms * 1e-3, offset_ms * 1e-3
    k = math.floor((t_s - offset_s) / step_s) + 1
    while (moment_s := offset_s + step_s * k + 1e-3 * jitter_ms * _noise(stream, k)) > t_s:
        k -= 1
    return moment_s


def _noise(stream: int, k: int) -> float:
    """A fixed random number in [-1, 1): splitmix64."""
    z = (k * 0x9E3779B97F4A7C15 + (stream + 1) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    z ^= z >> 31
    return (z >> 11) / 4503599627370496.0 - 1.0
