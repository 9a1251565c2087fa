"""The workers of a cluster: found, started, described, replaced when they die, refused when they cannot be trusted.

One slot a GPU, one for a host without any; a slot holds at most one actor. Ray never restarts or retries by itself.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from greenray.driver.schedule import WorkerSlot
from greenray.errors import MeasurementError
from greenray.worker.assignment import WorkerInfo, WorkerSettings
from greenray.worker.worker import Live, actor_class

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 180.0
_REFRESH_S = 1.0
_LIVE_S = 1.0
_STARTS_WITHOUT_RESULT = 3


@dataclass(slots=True, eq=False)
class Handle:
    """One worker of the pool. `info` is None until it has described itself."""

    slot: tuple[str, int]
    actor: Any
    describing: Any
    started_s: float
    info: WorkerInfo | None = None
    idle_since_s: float = 0.0
    busy: bool = False
    live: Live = field(default_factory=lambda: Live(power_w=None, temperature_c=None))
    live_ref: Any = None

    @property
    def worker_id(self) -> str:
        return f"{self.slot[0][:8]}/{self.slot[1]}"

    def worker_slot(self) -> WorkerSlot:
        assert self.info is not None
        return WorkerSlot(
            worker_id=self.worker_id, host=self.info.machine, has_gpu=self.info.uses_cuda, idle_since_s=self.idle_since_s
        )


class Pool:
    """Every worker that the cluster can have; call `refresh` often.

    Attributes:
        workers: those that have described themselves and can be given cells.
        starting: those that have not yet.
        refusals: why boards and workers were refused.
        unshared: hosts that do not see the store.
    """

    def __init__(self, ray: Any, *, settings: WorkerSettings, say: Callable[[str], None]) -> None:
        self._ray = ray
        self._settings = settings
        self._say = say
        self._refreshed_s = 0.0
        self._fruitless: dict[tuple[str, int], int] = {}
        self._closed: set[tuple[str, int]] = set()
        self.workers: list[Handle] = []
        self.starting: list[Handle] = []
        self.refusals: list[str] = []
        self.unshared: list[str] = []
        self._parked: list[Handle] = []

    def refresh(self) -> None:
        """Start what is missing, take in what has become ready. Cheap enough to be called in every turn of the loop."""
        now = time.monotonic()
        if now - self._refreshed_s >= _REFRESH_S:
            self._refreshed_s = now
            self._start_missing()
        for handle in list(self.starting):
            self._take_in(handle, now=now)
        self._look_at_workers(now=now)

    def on_machine(self, machine: str) -> list[Handle]:
        return [handle for handle in self.workers if handle.info and handle.info.machine == machine]

    def lost(self, handle: Handle, *, reason: str) -> None:
        """A worker died or hangs: end it for good; its slot gets another."""
        self._say(f"worker {handle.worker_id} is gone ({reason}); starting another")
        self._drop(handle)

    def refuse(self, handle: Handle, *, reason: str) -> None:
        """A board that cannot be measured or used: its slot stays closed, and its actor keeps the board from being lent again."""
        self.refusals.append(reason)
        self._say(f"refused: {reason}")
        self._closed.add(handle.slot)
        self._forget(handle)
        self._parked.append(handle)

    def explain(self, what: str) -> str:
        """A sentence that adds to `what` why workers and boards were refused or are not used."""
        notes = [note for handle in self.workers if handle.info for note in handle.info.notes]
        reasons = dict.fromkeys([*self.refusals, *notes])
        return f"{what}{': ' + '; '.join(reasons) if reasons else ''}; `greenray doctor` tells more."

    def fruitful(self, handle: Handle) -> None:
        """The worker brought a result: it may be replaced again should it die."""
        self._fruitless.pop(handle.slot, None)

    def close(self) -> None:
        """End every worker: politely, then for good."""
        handles = [*self.workers, *self.starting, *self._parked]
        idle = [handle.actor.close.remote() for handle in handles if handle.info and not handle.busy]
        if idle:
            with contextlib.suppress(Exception):
                self._ray.wait(idle, num_returns=len(idle), timeout=3.0)
        for handle in handles:
            self._drop(handle)

    def _start_missing(self) -> None:
        held = {handle.slot for handle in (*self.workers, *self.starting)}
        for slot, has_gpu in self._slots():
            if slot in held or slot in self._closed:
                continue
            if self._fruitless.get(slot, 0) >= _STARTS_WITHOUT_RESULT:
                self._closed.add(slot)
                self._say(f"gave up on a worker that died {_STARTS_WITHOUT_RESULT} times in a row without a result")
                continue
            self._fruitless[slot] = self._fruitless.get(slot, 0) + 1
            self.starting.append(self._start(slot, has_gpu=has_gpu))

    def _slots(self) -> Iterator[tuple[tuple[str, int], bool]]:
        for node in self._ray.nodes():
            if not node["Alive"]:
                continue
            boards = int(node["Resources"].get("GPU", 0))
            if boards or node["Resources"].get("CPU", 0) >= 1:
                for number in range(max(1, boards)):
                    yield (node["NodeID"], number), bool(boards)

    def _start(self, slot: tuple[str, int], *, has_gpu: bool) -> Handle:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cls: Any = actor_class()
        actor = cls.options(
            num_gpus=1 if has_gpu else 0,
            num_cpus=0 if has_gpu else 1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=slot[0], soft=False),
        ).remote(self._settings)
        return Handle(slot=slot, actor=actor, describing=actor.describe.remote(), started_s=time.monotonic())

    def _take_in(self, handle: Handle, *, now: float) -> None:
        ready, _ = self._ray.wait([handle.describing], timeout=0)
        if not ready:
            if now - handle.started_s > _START_TIMEOUT_S:
                self.lost(handle, reason=f"it did not start within {_START_TIMEOUT_S:g} s")
            return
        try:
            handle.info = self._ray.get(handle.describing)
        except MeasurementError as error:
            self.refuse(handle, reason=sentence(error))
            return
        except self._ray.exceptions.RayError as error:
            self.lost(handle, reason=sentence(error))
            return
        assert handle.info is not None
        if not handle.info.sees_store:
            self.unshared.append(handle.info.host)
            self.refuse(handle, reason=f"{handle.info.host} does not see {self._settings.out}")
            return
        self.starting.remove(handle)
        handle.idle_since_s = now
        self.workers.append(handle)
        for note in handle.info.notes:
            self._say(f"{handle.info.host}: {note}")

    def _look_at_workers(self, *, now: float) -> None:
        """Ask each worker for a sign of life; the answer is also what the progress display shows of its board."""
        for handle in list(self.workers):
            if handle.live_ref is None:
                handle.live_ref = (handle.actor.live.options(concurrency_group="live").remote(), now)
                continue
            ref, asked_s = handle.live_ref
            if now - asked_s >= _LIVE_S and self._ray.wait([ref], timeout=0)[0]:
                handle.live_ref = None
                try:
                    handle.live = self._ray.get(ref)
                except self._ray.exceptions.RayError as error:
                    if not handle.busy:  # else its cell's result says so too, and the driver has a row to write
                        self.lost(handle, reason=sentence(error))

    def _drop(self, handle: Handle) -> None:
        self._forget(handle)
        self._ray.kill(handle.actor, no_restart=True)

    def _forget(self, handle: Handle) -> None:
        for members in (self.workers, self.starting):
            if handle in members:
                members.remove(handle)


def sentence(error: BaseException) -> str:
    """What went wrong in the worker, in a sentence; Ray wraps it in a traceback."""
    cause = getattr(error, "cause", None)
    text = str(cause if cause is not None else error).strip()
    return text.splitlines()[-1] if text else type(error).__name__
