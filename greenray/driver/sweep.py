"""The driver: from a config to a finished store.

check names -> lock -> join Ray -> workers up -> resolve `auto` -> hold against the store -> manifest -> visits
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from greenray.config.matrix import expand
from greenray.config.spec import SweepConfig
from greenray.driver import preflight
from greenray.driver.cluster import connected
from greenray.driver.interrupts import Interrupts, StopNow
from greenray.driver.loop import VisitLoop
from greenray.driver.pool import Pool
from greenray.driver.progress import Watcher
from greenray.driver.schedule import Schedule
from greenray.errors import ResourceError, StoreError
from greenray.store import layout, reader, writer
from greenray.worker.assignment import WorkerInfo, WorkerSettings

_DEVICE_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 240.0
_TURN_S = 0.25

# With `ray start`, workers have the raylet's environment: what decides where models come from must be the driver's.
_PASSED_ON = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """How a sweep ended; `exit_code` is that of the command. `done` and `failed` count the cells settled by this run."""

    exit_code: int
    done: int
    failed: int
    stopped: bool


def run_sweep(config: SweepConfig, *, out: Path, address: str | None, extend: bool, watcher: Watcher) -> SweepResult:
    """Run or resume a sweep.

    Args:
        config: what to run.
        out: the store.
        address: of a Ray cluster, or None for a local instance.
        extend: take over what the store holds even where it was measured otherwise.
        watcher: whoever watches.

    Raises:
        UserError: something that the user can mend; nothing committed is lost.
    """
    layout.require_writable(out)
    with writer.lock(out):
        writer.clean(out, sweep=config.name)
        preflight.check_names(config, expand(config, auto_device="cpu"))
        with connected(address) as ray, Interrupts() as interrupts, preflight.probe_file(out) as probe:
            pool = Pool(ray, settings=_settings(config, out=out, probe=probe), say=watcher.say)
            try:
                infos = _workers_up(config, out=out, pool=pool, interrupts=interrupts)
                schedule = _prepare(config, out=out, infos=infos, refused=pool.refusals, extend=extend, watcher=watcher)
                loop = VisitLoop(
                    ray, config=config, out=out, pool=pool, schedule=schedule, watcher=watcher, interrupts=interrupts
                )
                return _run(loop, config=config, out=out, schedule=schedule, pool=pool)
            except StopNow:
                return SweepResult(exit_code=130, done=0, failed=0, stopped=True)
            finally:
                pool.close()


def _settings(config: SweepConfig, *, out: Path, probe: Path) -> WorkerSettings:
    return WorkerSettings(
        out=str(out.resolve()),
        probe=str(probe.resolve()),
        sweep=config.name,
        measure=config.measure,
        cpu_model=config.host.cpu_model,
        cell_timeout_s=config.limits.cell_timeout_s,
        cell_memory_bytes=config.limits.cell_memory_bytes,
        trust=config.trust,
        wall_meter=config.host.wall_meter and config.host.wall_meter.starting_at(config.folder),
        environment=tuple((name, os.environ[name]) for name in _PASSED_ON if name in os.environ),
    )


def _workers_up(config: SweepConfig, *, out: Path, pool: Pool, interrupts: Interrupts) -> list[WorkerInfo]:
    """Wait until every worker that starts now is there, and every device that was asked for by name.

    Raises:
        ResourceError: there is none in time.
        StoreError: a worker does not see the store.
        StopNow: Ctrl-C; nothing is in flight yet.
    """
    needs_cuda = any("cuda" in experiment.devices for experiment in config.experiments)
    begin_s = time.monotonic()
    while True:
        if interrupts.count:
            raise StopNow
        pool.refresh()
        if pool.unshared:
            hosts = ", ".join(pool.unshared)
            raise StoreError(f"{out}: not shared, {hosts} does not see it; give a folder that every host mounts with --out.")
        infos = [handle.info for handle in pool.workers if handle.info]
        waited_s = time.monotonic() - begin_s
        if not pool.starting:
            if infos and (not needs_cuda or any(info.uses_cuda for info in infos)):
                return infos
            if waited_s > _DEVICE_TIMEOUT_S:
                what = f"no cuda device within {_DEVICE_TIMEOUT_S:g} s" if infos else "no worker could be started"
                raise ResourceError(pool.explain(what))
        if waited_s > _START_TIMEOUT_S:
            raise ResourceError(pool.explain(f"not every worker started within {_START_TIMEOUT_S:g} s"))
        time.sleep(_TURN_S)


def _prepare(
    config: SweepConfig, *, out: Path, infos: list[WorkerInfo], refused: list[str], extend: bool, watcher: Watcher
) -> Schedule:
    """Resolve `auto`, hold the config against the store, say what is to do, write the manifest."""
    auto_device = "cuda" if any(info.uses_cuda for info in infos) else "cpu"
    blocks = expand(config, auto_device=auto_device)
    ledger, rows = preflight.read_ledger(out, sweep=config.name)
    if not extend:
        preflight.check_store(out, config=config, blocks=blocks, rows=rows, infos=infos)
    schedule = Schedule(blocks, ledger=ledger, max_attempts=config.limits.max_attempts)
    cells = [cell for block in blocks for cell in block.cells]
    settled = sum(schedule.settled(cell) for cell in cells)
    added = preflight.new_cells(out, sweep=config.name, blocks=blocks)
    if settled:
        news = f", {len(added)} of them new in the config" if added else ""
        watcher.say(f"{settled} of {len(cells)} cells are settled already, {len(cells) - settled} to run{news}")
    else:
        workers = f"{len(infos)} worker{'s' if len(infos) > 1 else ''}"
        noun = "cell" if len(cells) == 1 else "cells"
        watcher.say(f"{len(cells)} {noun}, and two baselines around each visit, on {workers}, device {auto_device}")
    manifest = preflight.manifest(config, blocks=blocks, infos=infos, auto_device=auto_device, refused=refused)
    writer.write_manifest(out, sweep=config.name, manifest=manifest)
    return schedule


def _run(loop: VisitLoop, *, config: SweepConfig, out: Path, schedule: Schedule, pool: Pool) -> SweepResult:
    stopped = False
    refused = len(pool.refusals)
    try:
        loop.run()
    except StopNow:
        stopped = True
    finally:
        if len(pool.refusals) > refused:
            known = reader.manifests(out)[config.name]
            writer.write_manifest(out, sweep=config.name, manifest={**known, "refused": pool.refusals})
    failed = preflight.failures(out, sweep=config.name, blocks=schedule.blocks)
    code = 130 if stopped else 1 if failed else 0
    return SweepResult(exit_code=code, done=loop.finished, failed=failed, stopped=stopped)
