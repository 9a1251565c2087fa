"""The driver: from a config to a finished store.

lock -> read the store -> check names -> join Ray -> workers up -> plan -> manifest -> visits
"""

import contextlib
import os
import time
import uuid
from collections.abc import Mapping

from greenray.config.spec import SweepConfig
from greenray.driver import refusals
from greenray.driver.cluster import connected
from greenray.driver.ledger import Stored
from greenray.driver.loop import VisitLoop
from greenray.driver.plan import Plan, Schedule, check_measured_alike
from greenray.driver.progress import Interrupts, StopNow, Watcher
from greenray.driver.ray_pool import START_TIMEOUT_S, RayPool
from greenray.driver.rounds import add_rounds
from greenray.errors import ResourceError, StoreError
from greenray.processes.awake import AwakeClock
from greenray.store import tables
from greenray.store.base import Store
from greenray.worker.assignment import WorkerInfo, WorkerSettings

_DEVICE_TIMEOUT_S = 60.0
_START_TIMEOUT_S = START_TIMEOUT_S + 60.0  # the pool gives up on a worker first, and says on which
_TURN_S = 0.25

# With `ray start`, workers have the raylet's environment: what decides where models come from must be the driver's.
_PASSED_ON = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"),
    *("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"),
)


def run_sweep(config: SweepConfig, *, store: Store, address: str | None, extend: bool, watcher: Watcher) -> int | None:
    """Run or resume a sweep; returns how many cells have failed, None when the user stopped it.

    Raises UserError for what the user can mend; nothing committed is lost.

    Args:
        store: `tables.require_writable` has let it pass.
        address: of a Ray cluster; None for a local instance.
        extend: take over what the store holds even where it was measured otherwise.
    """
    with store.lock():
        tables.clean(store, sweep=config.name)
        stored = Stored.read(store)
        if not extend:
            check_measured_alike(config, stored, out=store.out)
        absent = refusals.check_names(config)
        for sentence in absent.sentences:
            watcher.say(f"cannot be had, and its cells are recorded as failed: {sentence}")
        with connected(address) as ray, Interrupts() as interrupts, contextlib.ExitStack() as at_end:
            probe = f".staging/probe-{uuid.uuid4().hex}"  # for workers to look for
            store.create(probe, b"")
            at_end.callback(store.remove, probe)
            settings = _settings(config, store=store, probe=probe)
            pool = RayPool(ray, settings=settings, say=watcher.say, cpu_only=_cpu_only(config))
            at_end.callback(pool.close)
            try:
                late_s = _DEVICE_TIMEOUT_S if address else 0.0
                infos = _workers_up(config, out=store.out, pool=pool, watcher=watcher, interrupts=interrupts, late_s=late_s)
                auto_device = "cuda" if any(info.uses_cuda for info in infos) else "cpu"
                plan = Plan(config, stored=stored, auto_device=auto_device, refused=absent)
                if not extend:
                    plan.check_hardware(infos, out=store.out)
                if Schedule(plan).finished():
                    add_rounds(plan, store)
                watcher.say(_what_is_to_do(plan, workers=len(infos)))

                def declare() -> None:
                    manifest = plan.manifest(infos, refused=pool.refusals)
                    tables.write_manifest(store, sweep=config.name, manifest=manifest)

                declare()
                refused = list(pool.refusals)
                try:
                    VisitLoop(plan, store=store, pool=pool, watcher=watcher, interrupts=interrupts, declared=declare).run()
                finally:
                    if refused != pool.refusals:  # visits have shown a GPU that cannot be used
                        declare()
            except StopNow:
                return None
            return plan.failures()


def _settings(config: SweepConfig, *, store: Store, probe: str) -> WorkerSettings:
    return WorkerSettings(
        out=store.address,
        probe=probe,
        sweep=config.name,
        measure=config.measure,
        cpu_model=config.host.cpu_model,
        cell_timeout_s=config.limits.cell_timeout_s,
        cell_memory_bytes=config.limits.cell_memory_bytes,
        trust=config.trust,
        wall_meter=config.host.wall_meter and config.host.wall_meter.starting_at(config.folder),
        rehearsal=config.rehearsal,
        environment=tuple((name, os.environ[name]) for name in _PASSED_ON if name in os.environ),
    )


def _cpu_only(config: SweepConfig) -> bool:
    """Whether the processor was asked for by name, everywhere."""
    return all({*experiment.devices} == {"cpu"} for experiment in config.experiments)


def _workers_up(
    config: SweepConfig, *, out: str, pool: RayPool, watcher: Watcher, interrupts: Interrupts, late_s: float
) -> list[WorkerInfo]:
    """Wait until every worker that starts now is there, and every device that was asked for by name.

    Raises ResourceError where there is none in time, or where torch cannot use the boards that there are, and nobody with better
    ones comes within `late_s`; StoreError where a worker does not see the store; StopNow at Ctrl-C.
    """
    needs_cuda = any("cuda" in experiment.devices for experiment in config.experiments)
    clock = AwakeClock()
    begin_s = clock()
    while True:
        if interrupts.count:
            raise StopNow
        pool.refresh()
        watcher.starting(pool.starting)
        if pool.unshared:
            hosts = ", ".join(pool.unshared)
            raise StoreError(f"{out}: not shared, {hosts} does not see it; give a folder that every host mounts with --out.")
        infos = [worker.info for worker in pool.workers]
        uses_cuda = any(info.uses_cuda for info in infos)
        waited_s = clock() - begin_s
        if not pool.starting:
            if pool.unusable and not uses_cuda:
                if waited_s >= late_s:
                    raise ResourceError(_unusable(pool.unusable))
            elif infos and (not needs_cuda or uses_cuda):
                return infos
            if waited_s > _DEVICE_TIMEOUT_S:
                what = f"no cuda device within {_DEVICE_TIMEOUT_S:g} s" if infos else "no worker could be started"
                raise ResourceError(pool.explain(what))
        if waited_s > _START_TIMEOUT_S:
            raise ResourceError(pool.explain(f"not every worker started within {_START_TIMEOUT_S:g} s"))
        time.sleep(_TURN_S)


def _unusable(hosts: Mapping[str, str]) -> str:
    """Why a sweep that may use boards does not fall back to processors in silence."""
    reasons: dict[str, list[str]] = {}
    for host, reason in hosts.items():
        reasons.setdefault(reason, []).append(host)
    told = " ".join(f"{', '.join(names)}: {reason.rstrip('.')}." for reason, names in reasons.items())
    return f"{told} To measure on processors all the same, ask for it in every experiment: devices: [cpu]."


def _what_is_to_do(plan: Plan, *, workers: int) -> str:
    total, settled = len(plan.cells), plan.settled()
    if settled:
        news = f", {len(plan.new)} of them new in the config" if plan.new else ""
        return f"{settled} of {total} cells are settled already, {total - settled} to run{news}"
    cells = f"{total} cell{'s' if total > 1 else ''}"
    rounds = max(cell.round for cell in plan.cells.values())
    cells += f" in {rounds} rounds" if rounds > 1 else ""
    cells += " at least" if plan.bounds else ""
    brackets = ", and two baselines around each visit" if any(block.bracketed for block in plan.blocks) else ""
    return f"{cells}{brackets}, on {workers} worker{'s' if workers > 1 else ''}, device {plan.auto_device}"
