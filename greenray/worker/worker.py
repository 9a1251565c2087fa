"""The worker: one for each GPU of the cluster, one for a host that has none. It measures; it never computes.

The class knows nothing of Ray but the id of its accelerator; `greenray.driver.ray_pool` makes actors of it.
"""

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

from greenray import __version__
from greenray.cell.preload import CELL_TARGET, SETTLE, preload_modules
from greenray.cell.protocol import Failed, Probe, Ready
from greenray.errors import MeasurementError
from greenray.gpu import power_limit, registry
from greenray.gpu.base import Gpu
from greenray.power.host import memory_bytes
from greenray.power.instrument import Instrument
from greenray.power.sharing import IdlePower
from greenray.processes import forkserver
from greenray.processes import tree as processes
from greenray.processes.launcher import Spawn
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment, AttemptResult, Live, WorkerInfo, WorkerSettings
from greenray.worker.attempt import run_attempt
from greenray.worker.binding import board_cores
from greenray.worker.board import fault_of
from greenray.worker.caches import CompileCaches
from greenray.worker.probe import HOST_MEMORY_SHARE, probe, reason_of
from greenray.worker.quiet import HostSource, QuietHost, own_roots

_MEMORY_TIMEOUT_S = 60.0
_RECOVERY_S = 1.0  # another worker may be at it
_MEMORY_SLACK_BYTES = 64 * 2**20
_BOARD_TIMEOUT_S = 60.0


class Worker:
    """Runs one cell at a time, each in a fresh process, and measures it from outside."""

    def __init__(self, settings: WorkerSettings, *, accelerator: str | None = None, from_ray: bool = True) -> None:
        """Set up the instrument and the fork server. Inside an actor Ray says which `accelerator` (number, UUID) it lent."""
        # Ray nices its workers; what they start would be measured as something else than what users run.
        with contextlib.suppress(OSError):  # needs privileges; the row's `settings` show the niceness that was left
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        if from_ray:
            processes.die_with_parent(os.getppid())
            accelerator = _lent_by_ray()
        os.environ.update(dict(settings.environment))
        processes.kill_stale()
        self._settings = settings
        self._notes = power_limit.recover(timeout_s=_RECOVERY_S)
        self._refused: str | None = None
        self._warm: set[str] = set()
        try:
            self._instrument = Instrument(
                accelerator=accelerator,
                hz=settings.measure.sampling_hz,
                cpu_model=settings.cpu_model,
                wall_meter=settings.wall_meter,
            )
        except MeasurementError as error:
            self._refused = str(error)
            return
        # Ray sets it to 1, and OpenMP reads it once, when the fork server loads it. A cell sets its own number before its first
        # parallel region, and no thread was started before.
        os.environ["OMP_NUM_THREADS"] = str(self._instrument.host.usable_cores)
        self._launcher = forkserver.open_launcher(target=CELL_TARGET, preload=cell_preload())
        if accelerator is None:
            self._notes += registry.unreached()
        if wall_problem := self._instrument.wall_problem():
            self._notes.append(wall_problem)
        gpu = self._instrument.gpu
        unusable = None if gpu is None else self._unusable(gpu)
        if reason := self._launcher.fallback_reason:
            self._notes.append(f"cells are spawned, which takes seconds each: {reason}")
        sees_store = settings.probe is None or open_store(settings.out).exists(settings.probe)
        self._info = worker_info(
            self._instrument,
            uses_cuda=gpu is not None and unusable is None,
            unusable=unusable,
            sees_store=sees_store,
            notes=self._notes,
        )
        self._board_cores = None if gpu is None else board_cores(gpu, among=registry.gpus())
        self._idle_memory = None if gpu is None else gpu.memory_used_bytes()
        self._caches = CompileCaches()
        self._quiet = QuietHost(
            HostSource(own=own_roots()),
            longest_s=settings.measure.quiet_wait_s,
            logical_cores=self._instrument.host.logical_cores,
        )

    def describe(self) -> WorkerInfo:
        """What this worker measures and runs on. Raises MeasurementError, which says why, if the board is refused."""
        if self._refused is not None:
            raise MeasurementError(self._refused)
        return self._info

    def measure_idle(self, seconds: float) -> IdlePower:
        """The host's idle power; to be called while no cell runs on the host."""
        return self._instrument.measure_idle(seconds)

    def run(self, assignment: Assignment) -> AttemptResult:
        """Run one cell, measure it, commit it. Raises MeasurementError if the board must not be used any more."""
        self._instrument.require_gpu()
        self._warm_compiler(assignment)
        self._wait_for_memory()
        alone = assignment.workers_sharing == 1
        if alone:
            self._quiet.wait()
        self._instrument.share_host(idle=assignment.idle, workers=assignment.workers_sharing)
        memory = int(memory_bytes() * HOST_MEMORY_SHARE) // assignment.workers_sharing
        result = run_attempt(
            assignment,
            settings=self._settings,
            info=self._info,
            instrument=self._instrument,
            launcher=self._launcher,
            caches=self._caches,
            memory_limit_bytes=min(memory, self._settings.cell_memory_bytes or memory),
            board_cores=self._board_cores,
        )
        if alone:
            self._quiet.ended(contended=result.contended)
        gpu = self._instrument.gpu
        if gpu is not None and result.suspect and result.gpu_lost is None:
            result = replace(result, gpu_lost=self._fault_of(gpu))
        return result

    def live(self) -> Live:
        """The board's power and temperature, and what the worker waits for; asked for beside `run`, from another thread."""
        if self._refused is not None:
            return Live()
        gpu, waiting = self._instrument.gpu, self._quiet.waiting
        return Live(power_w=gpu.power_w(), temperature_c=gpu.temperature_c(), waiting=waiting) if gpu else Live(waiting=waiting)

    def close(self) -> None:
        """End what was started here."""
        if self._refused is None:
            self._launcher.close()
            self._instrument.close()
            self._quiet.close()
            self._caches.close()

    def _fault_of(self, gpu: Gpu) -> str | None:
        """Why the board must not be used any more, None if it can still be read and computes."""

        def compute() -> str | None:
            return reason_of(probe(self._launcher, Probe(device="cuda"), gpu=gpu, deadline_s=_BOARD_TIMEOUT_S))

        return fault_of(gpu, period_s=self._instrument.counter_period_s, compute=compute)

    def _unusable(self, gpu: Gpu) -> str | None:
        """Why torch cannot compute on the GPU that is measured, None if it can; goes over to spawn if a forked process cannot."""
        answer = probe(self._launcher, Probe(device="cuda"), gpu=gpu)
        without_cuda = isinstance(answer, Failed) and answer.status == "unsupported"
        if not isinstance(answer, Ready) and not without_cuda and isinstance(self._launcher, forkserver.ForkServer):
            with Spawn(target=CELL_TARGET) as fresh:
                second = probe(fresh, Probe(device="cuda"), gpu=gpu)
            if isinstance(second, Ready):  # else forking is not the reason
                why = f"a forked process cannot use its GPU: {reason_of(answer)}"
                self._launcher, answer = forkserver.fall_back(self._launcher, reason=why), second
        if not isinstance(answer, Ready):
            built_for = answer.versions.get("cuda") if isinstance(answer, Failed) else None
            return gpu.unusable(reason_of(answer) or "", built_for=built_for).sentence
        if answer.gpu_uuid is None or not gpu.is_same(answer.gpu_uuid):
            self._refused = f"CUDA runs on board {answer.gpu_uuid} where {gpu.uuid} is measured"
        return None

    def _warm_compiler(self, assignment: Assignment) -> None:
        """Bring compiler and headers into the page cache before the first cell that compiles: no cell is to pay for that."""
        compiles = any(step.name == "compile" for step in assignment.cell.tactic)
        if compiles and assignment.cell.device not in self._warm:
            self._warm.add(assignment.cell.device)
            probe(self._launcher, Probe(device=assignment.cell.device, warm_compiler=True), gpu=self._instrument.gpu)

    def _wait_for_memory(self) -> None:
        """Wait until the GPU's memory is back where it was: a cell must not share it with its predecessor's remains."""
        gpu = self._instrument.gpu
        if gpu is None or self._idle_memory is None:
            return
        deadline = time.monotonic() + _MEMORY_TIMEOUT_S
        while (used := gpu.memory_used_bytes()) is not None and used > self._idle_memory + _MEMORY_SLACK_BYTES:
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"board {gpu.uuid} still holds {used / 2**30:.1f} GiB, {_MEMORY_TIMEOUT_S:g} s after its last cell"
                )
            time.sleep(0.1)


def worker_info(
    instrument: Instrument, *, uses_cuda: bool, sees_store: bool, unusable: str | None = None, notes: Sequence[str] = ()
) -> WorkerInfo:
    """What a worker with this instrument tells of itself and its host."""
    gpu, host = instrument.gpu, instrument.host
    return WorkerInfo(
        host=host.hostname,
        machine=host.boot_id or host.hostname,
        cpu_name=host.cpu_name,
        physical_cores=host.physical_cores,
        usable_cores=host.usable_cores,
        gpu_uuid=gpu.uuid if gpu else None,
        gpu_name=gpu.name if gpu else None,
        power_limit_w=gpu.power_limit_w if gpu else None,
        driver_version=gpu.driver_version if gpu else None,
        uses_cuda=uses_cuda,
        unusable=unusable,
        energy_scope=instrument.energy_scope,
        sees_store=sees_store,
        versions={
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "transformers": metadata.version("transformers"),
            "greenray": __version__,
        },
        notes=tuple(notes),
    )


def cell_preload() -> forkserver.Preload:
    """Everything that cells import, under an environment in which no GPU is seen."""
    environment, prefixes = registry.preload_environment(), registry.device_prefixes()
    return forkserver.Preload(modules=preload_modules(), environment=environment, device_prefixes=prefixes, settle=SETTLE)


def _lent_by_ray() -> str | None:
    import ray

    ids = ray.get_runtime_context().get_accelerator_ids().get("GPU") or []
    return str(ids[0]) if ids else None
