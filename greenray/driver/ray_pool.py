"""The workers of a Ray cluster: found, started, described, replaced when they die, refused when they cannot be trusted.

One place a GPU, one for a host without any; a place holds at most one actor. Ray never restarts or retries by itself.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenray.driver.cluster import sentence, why_ended
from greenray.driver.pool import Died, Ended, Event, IdleRead, Refused, Starting, WorkerSlot
from greenray.errors import MeasurementError, StoreError
from greenray.processes.awake import AwakeClock
from greenray.worker.assignment import Assignment, AttemptResult, WorkerSettings
from greenray.worker.worker import Worker

START_TIMEOUT_S = 600.0  # eight workers at once import torch, make a context and wait for each other's disk
_REFRESH_S = 1.0
_LIVE_S = 1.0
_STARTS_WITHOUT_RESULT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a worker may be: a node of the cluster, and a number on it."""

    node_id: str
    number: int
    host: str
    has_gpu: bool

    @property
    def name(self) -> str:
        return f"{self.node_id[:8]}/{self.number}"


@dataclass(slots=True, eq=False, kw_only=True)
class _RayWorker(WorkerSlot):
    """A worker and its actor: `call` is the cell or the idle reading in flight, `asked` the sign of life and since when."""

    place: _Place
    actor: Any
    call: Any = None
    asked: tuple[Any, float] | None = None


class RayPool:
    """Every worker that the cluster can have; see `greenray.driver.pool.Pool`. `unshared` hosts do not see the store.

    `unusable` are the hosts whose boards torch cannot use, each with the reason; without `cpu_only` their workers are refused.
    """

    def __init__(self, ray: Any, *, settings: WorkerSettings, say: Callable[[str], None], cpu_only: bool = False) -> None:
        self._ray = ray
        # Signs of life are asked for beside a running cell, hence a concurrency group of their own.
        self._actor_class = ray.remote(concurrency_groups={"live": 1}, max_restarts=0, max_task_retries=0)(Worker)
        self._settings = settings
        self._say = say
        self._cpu_only = cpu_only
        self._clock = AwakeClock()
        self._refreshed_s = 0.0
        self._fruitless: dict[_Place, int] = {}
        self._closed: set[_Place] = set()
        self.workers: list[_RayWorker] = []
        self._starting: dict[_Place, tuple[Any, Any, float]] = {}  # the actor, its description to come, since when
        self._parked: list[Any] = []
        self.refusals: list[str] = []
        self.unshared: list[str] = []
        self.unusable: dict[str, str] = {}

    @property
    def starting(self) -> Sequence[Starting]:
        now = self._clock()
        return [Starting(host=place.host, since_s=now - began_s) for place, (_, _, began_s) in self._starting.items()]

    def refresh(self) -> None:
        now = self._clock()
        if now - self._refreshed_s >= _REFRESH_S:
            self._refreshed_s = now
            self._start_missing()
        for place in list(self._starting):
            self._take_in(place, now=now)
        for worker in list(self.workers):
            self._look_at(worker, now=now)

    def start(self, worker: WorkerSlot, assignment: Assignment) -> None:
        assert isinstance(worker, _RayWorker)
        worker.call = worker.actor.run.remote(assignment)

    def read_idle(self, worker: WorkerSlot, seconds: float) -> None:
        assert isinstance(worker, _RayWorker)
        worker.call = worker.actor.measure_idle.remote(seconds)

    def wait(self, timeout_s: float) -> list[Event]:
        calls = {worker.call: worker for worker in self.workers if worker.call is not None}
        if not calls:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout_s)
        return [self._event(calls[ref]) for ref in ready]

    def lost(self, worker: WorkerSlot, *, reason: str) -> None:
        assert isinstance(worker, _RayWorker)
        self.workers.remove(worker)
        self._end(worker.place, worker.actor, reason=reason)

    def refuse(self, worker: WorkerSlot, *, reason: str) -> None:
        assert isinstance(worker, _RayWorker)
        self.workers.remove(worker)
        self._park(worker.place, worker.actor, reason=reason)

    def explain(self, what: str) -> str:
        reasons = dict.fromkeys([*self.refusals, *(note for worker in self.workers for note in worker.info.notes)])
        return f"{what}{': ' + '; '.join(reasons) if reasons else ''}; `greenray doctor` tells more."

    def close(self) -> None:
        """End every worker: politely, then for good."""
        idle = [worker.actor.close.remote() for worker in self.workers if worker.call is None]
        if idle:
            with contextlib.suppress(Exception):
                self._ray.wait(idle, num_returns=len(idle), timeout=3.0)
        starting = [actor for actor, _, _ in self._starting.values()]
        for actor in [*(worker.actor for worker in self.workers), *starting, *self._parked]:
            self._ray.kill(actor, no_restart=True)

    def _start_missing(self) -> None:
        taken = {worker.place for worker in self.workers} | self._starting.keys() | self._closed
        for place in self._places():
            if place in taken:
                continue
            if self._fruitless.get(place, 0) >= _STARTS_WITHOUT_RESULT:
                self._closed.add(place)
                self._say(f"gave up on a worker that died {_STARTS_WITHOUT_RESULT} times in a row without a result")
                continue
            self._fruitless[place] = self._fruitless.get(place, 0) + 1
            self._start_at(place)

    def _places(self) -> Iterator[_Place]:
        for node in [node for node in self._ray.nodes() if node["Alive"]]:
            gpus, host = int(node["Resources"].get("GPU", 0)), str(node["NodeManagerHostname"])
            if gpus or node["Resources"].get("CPU", 0) >= 1:
                for number in range(max(1, gpus)):
                    yield _Place(node_id=node["NodeID"], number=number, host=host, has_gpu=gpus > 0)

    def _start_at(self, place: _Place) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._actor_class.options(
            num_gpus=int(place.has_gpu),
            num_cpus=int(not place.has_gpu),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=place.node_id, soft=False),
        ).remote(self._settings)
        self._starting[place] = actor, actor.describe.remote(), self._clock()

    def _take_in(self, place: _Place, *, now: float) -> None:
        actor, description, began_s = self._starting[place]
        ready, _ = self._ray.wait([description], timeout=0)
        if not ready and now - began_s <= START_TIMEOUT_S:
            return
        del self._starting[place]
        if not ready:
            self._end(place, actor, reason=f"it did not start within {START_TIMEOUT_S:g} s on {place.host}")
            return
        try:
            info = self._ray.get(description)
        except MeasurementError as error:
            self._park(place, actor, reason=sentence(error))
            return
        except self._ray.exceptions.RayError as error:
            self._end(place, actor, reason=why_ended(error, host=place.host))
            return
        if not info.sees_store:
            self.unshared.append(info.host)
            self._park(place, actor, reason=f"{info.host} does not see {self._settings.out}")
            return
        if info.unusable is not None and not self._cpu_only:
            reason = f"board {info.gpu_uuid} on {info.host}: {info.unusable}"
            # Mostly it is all boards of a host, for one and the same reason.
            self._park(place, actor, reason=reason, say=self.unusable.get(info.host) != info.unusable)
            self.unusable[info.host] = info.unusable
            return
        self.workers.append(_RayWorker(worker_id=place.name, info=info, idle_since_s=now, place=place, actor=actor))
        measured_only = f"the board is measured, and not used: {info.unusable}"
        for note in (*info.notes, *([measured_only] if info.unusable is not None else [])):
            self._say(f"{info.host}: {note}")

    def _look_at(self, worker: _RayWorker, *, now: float) -> None:
        """Ask for a sign of life; the answer is also what the progress display shows of its GPU."""
        if worker.asked is None:
            worker.asked = (worker.actor.live.options(concurrency_group="live").remote(), now)
            return
        ref, asked_s = worker.asked
        if now - asked_s >= _LIVE_S and self._ray.wait([ref], timeout=0)[0]:
            worker.asked = None
            try:
                worker.live = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                if worker.call is None:  # else what it was doing ends with it, and says so
                    self.lost(worker, reason=why_ended(error, host=worker.info.host))

    def _event(self, worker: _RayWorker) -> Event:
        call, worker.call = worker.call, None
        try:
            answer = self._ray.get(call)
        except StoreError as error:
            raise StoreError(sentence(error)) from None
        except MeasurementError as error:
            return Refused(worker=worker, reason=sentence(error))
        except self._ray.exceptions.RayError as error:
            # An error in the worker is a fault of ours; it is started afresh.
            ours = isinstance(error, self._ray.exceptions.RayTaskError)
            return Died(worker=worker, status="failed" if ours else "crashed", reason=why_ended(error, host=worker.info.host))
        if not isinstance(answer, AttemptResult):
            return IdleRead(worker=worker, idle=answer)
        self._fruitless.pop(worker.place, None)  # it brought a result: it may be replaced again should it die
        return Ended(worker=worker, result=answer)

    def _end(self, place: _Place, actor: Any, *, reason: str) -> None:
        self._say(f"worker {place.name} is gone ({reason}); starting another")
        self._ray.kill(actor, no_restart=True)

    def _park(self, place: _Place, actor: Any, *, reason: str, say: bool = True) -> None:
        """The place stays closed, and the actor keeps its GPU from being lent again."""
        self.refusals.append(reason)
        if say:
            self._say(f"refused: {reason}")
        self._closed.add(place)
        self._parked.append(actor)
