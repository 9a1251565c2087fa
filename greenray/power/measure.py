"""Energy of any command, like `time`: every visible board, the processors and the memory, from its start to its end."""

import contextlib
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from greenray.config import CpuModel
from greenray.power import nvml
from greenray.power.activity import TreeActivity
from greenray.power.board import BoardSensor, calibrate
from greenray.power.company import foreign_processes
from greenray.power.grade import CpuEvidence, grade_cpu, grade_gpu
from greenray.power.host import host_info
from greenray.power.instrument import idle_of
from greenray.power.rapl import powercap_root
from greenray.power.reading import CpuReading, Household, facts_of, read_cpu, read_gpu
from greenray.power.recorder import Recorder
from greenray.power.sensors import Sensor, Setup, open_sensors
from greenray.power.trace import Trace
from greenray.power.window import gpu_evidence

logger = logging.getLogger(__name__)

CANNOT_RUN, NOT_FOUND = 126, 127  # as a shell answers
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")
_FROM_TERMINAL = ("SIGINT", "SIGQUIT", "SIGWINCH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a command cost; `as_json` has the fields that `greenray measure --json` writes.

    Attributes:
        exit_code: the command's; 126 or 127 when it could not be run, 128 + n when signal n ended it.
        error: why the command could not be run; None when it ran.
        gpus: one entry a board; cpu, dram: the command's share of the host.
        notes: what the figures leave out, in sentences.
    """

    start_monotonic_s: float
    end_monotonic_s: float
    duration_s: float
    exit_code: int
    gpus: list[dict[str, Any]]
    cpu: dict[str, Any]
    dram: dict[str, Any]
    error: str | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        names = ("start_monotonic_s", "end_monotonic_s", "duration_s", "exit_code", "gpus", "cpu", "dram", "error", "notes")
        return {name: getattr(self, name) for name in names}


def measure_command(
    argv: Sequence[str],
    *,
    hz: float = 50.0,
    idle_s: float | None = None,
    cpu_model: CpuModel | None = None,
    environ: Mapping[str, str] | None = None,
) -> Measurement:
    """Runs a command to its end and measures it; standard input, output and error are the command's.

    Signals that this process gets while the command runs are passed on to it (not those that a terminal sends to both).

    Args:
        argv: the command and its arguments.
        hz: sampling rate.
        idle_s: seconds of idle to measure before the command; None leaves idle power unknown.
        cpu_model: assumed power of a processor without a meter.
        environ: environment of the command; this process's by default. CUDA_VISIBLE_DEVICES in it chooses the boards.

    Raises:
        MeasurementError: CUDA_VISIBLE_DEVICES names a MIG instance or a board in MIG mode.
    """
    environ = os.environ if environ is None else environ
    notes: list[str] = []
    sensors = _open(environ, hz=hz, cpu_model=cpu_model or CpuModel(), notes=notes)
    gpus = [sensor for sensor in sensors if isinstance(sensor, BoardSensor)]
    calibrate(gpus)
    tree = TreeActivity()
    recorder = Recorder([*sensors, tree], hz=hz)
    recorder.start()
    try:
        _reach(recorder, time.monotonic(), limit_s=1.0)
        idle = _rest(idle_s)
        start_s, end_s, exit_code, error = _run(argv, environ=environ, recorder=recorder, tree=tree)
        slowest_s = max((sensor.calibration.period_s or 0.0 for sensor in gpus), default=0.0)
        _reach(recorder, end_s + 1.3 * slowest_s + 2 / hz, limit_s=3 * max(slowest_s, 1 / hz) + 0.5)
    finally:
        recorder.stop()
    trace = recorder.trace()
    host = host_info()
    household = Household(logical_cores=host.logical_cores, model=cpu_model or CpuModel())
    if idle is not None:
        household = replace(household, idle=idle_of(trace.part(*idle)))
    cpu = read_cpu(trace, household, start_s=start_s, end_s=end_s)
    boards = [_board_entry(sensor, trace, tree, idle=idle, start_s=start_s, end_s=end_s) for sensor in gpus]
    for sensor in sensors:
        sensor.close()
    return Measurement(
        start_monotonic_s=start_s,
        end_monotonic_s=end_s,
        duration_s=end_s - start_s,
        exit_code=exit_code,
        gpus=boards,
        cpu=_cpu_entry(cpu, household),
        dram={
            "energy_j": cpu.dram.energy_j,
            "source": "rapl" if cpu.dram.energy_j is not None else None,
            "reason": cpu.dram.reason,
        },
        error=error,
        notes=notes,
    )


def _open(environ: Mapping[str, str], *, hz: float, cpu_model: CpuModel, notes: list[str]) -> list[Sensor]:
    problem = nvml.start()
    if problem is not None:
        notes.append(f"no GPU is measured: {problem}")
    boards = [] if problem is not None else nvml.visible(environ, nvml.boards())
    for board in boards:
        if board.mig:
            notes.append(f"board {board.uuid} is in MIG mode and left out: energy is known per board only")
    return open_sensors(
        Setup(
            boards=[board for board in boards if not board.mig],
            hz=hz,
            cpu_model=cpu_model,
            powercap_root=powercap_root(environ),
        )
    )


def _rest(idle_s: float | None) -> tuple[float, float] | None:
    """Waits for `idle_s` seconds; the interval, or None when there is none."""
    if not idle_s:
        return None
    start_s = time.monotonic()
    time.sleep(idle_s)
    return start_s, time.monotonic()


def _run(
    argv: Sequence[str], *, environ: Mapping[str, str], recorder: Recorder, tree: TreeActivity
) -> tuple[float, float, int, str | None]:
    """Runs the command: start, end, exit code and, when it could not be run, why."""
    with _forwarding() as children:
        start_s = time.monotonic()
        try:
            # Python ignores these two; the command gets them as it would from a shell.
            pid = os.posix_spawnp(argv[0], list(argv), dict(environ), setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
        except (OSError, ValueError) as problem:
            missing = isinstance(problem, OSError) and problem.errno in (errno.ENOENT, errno.ENOTDIR)
            error = f"{argv[0]}: {getattr(problem, 'strerror', None) or problem}"
            return start_s, time.monotonic(), NOT_FOUND if missing else CANNOT_RUN, error
        children.append(pid)
        tree.follow(pid)
        # Not reaped yet: what it and its children used is read once more while the kernel still knows.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        end_s = time.monotonic()
        _reach(recorder, end_s, limit_s=0.5)
        children.clear()
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return start_s, end_s, code if code >= 0 else 128 - code, None


@contextlib.contextmanager
def _forwarding() -> Iterator[list[int]]:
    """Passes signals on to the process whose pid is put into the list. Ignored signals stay ignored."""
    children: list[int] = []
    early: list[int] = []

    def forward(number: int, _frame: object) -> None:
        if signal.Signals(number).name in _FROM_TERMINAL and _in_foreground():
            return  # the terminal has sent it to the command as well
        if not children:
            early.append(number)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    kept: dict[int, Any] = {}
    try:
        for name in _FORWARDED:
            number = getattr(signal, name)
            # Only the main thread may set handlers; elsewhere signals are the caller's business.
            with contextlib.suppress(ValueError):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    kept[number] = signal.signal(number, forward)
        yield children
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        for number in early:
            if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                os.kill(os.getpid(), number)


def _in_foreground() -> bool:
    for stream in (sys.__stdin__, sys.__stderr__, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream is not None and stream.isatty():
                return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    return False


def _reach(recorder: Recorder, moment_s: float, *, limit_s: float) -> None:
    """Waits until every sensor was read after a moment, at most `limit_s` seconds past it."""
    deadline_s = max(moment_s, time.monotonic()) + limit_s
    while recorder.running() and recorder.last_s() < moment_s and time.monotonic() < deadline_s:
        time.sleep(0.002)


def _board_entry(
    sensor: BoardSensor, trace: Trace, tree: TreeActivity, *, idle: tuple[float, float] | None, start_s: float, end_s: float
) -> dict[str, Any]:
    series, facts = trace.series[sensor.name], facts_of(sensor)
    reading = read_gpu(series, facts, start_s=start_s, end_s=end_s, hz=trace.hz)
    idle_w = None
    if idle is not None:
        idle_w = read_gpu(series, facts, start_s=idle[0], end_s=idle[1], hz=trace.hz).power_w
    # The command has ended, and with it its processes: whoever is left is somebody else.
    foreign = foreign_processes(
        pids=sensor.board.processes(), ours=tree.pids(), uses_board=False, memory_before_bytes=None, memory_level_bytes=None
    )
    evidence = gpu_evidence(reading, power_source=sensor.power_source, counter_missing=sensor.counter_missing, foreign=foreign)
    grade, reasons = grade_gpu(evidence)
    return {
        "uuid": sensor.board.uuid,
        "name": sensor.board.name,
        "energy_j": reading.energy.energy_j,
        "source": reading.source,
        "error_j": reading.energy.error_j,
        "power_energy_j": reading.power.energy_j,
        "idle_w": idle_w,
        "grade": grade,
        "reasons": reasons,
    }


def _cpu_entry(cpu: CpuReading, household: Household) -> dict[str, Any]:
    grade, reasons = grade_cpu(
        CpuEvidence(
            energy_j=cpu.energy.energy_j,
            source=cpu.source,
            energy_reason=cpu.energy.reason,
            idle_known=cpu.idle_known,
            neighbours_busy=cpu.neighbours_busy,
            logical_cores=household.logical_cores,
        )
    )
    return {
        "energy_j": cpu.energy.energy_j,
        "host_energy_j": cpu.host.energy_j,
        "source": cpu.source,
        "error_j": cpu.energy.error_j,
        "cpu_seconds": cpu.cell_s,
        "grade": grade,
        "reasons": reasons,
    }
