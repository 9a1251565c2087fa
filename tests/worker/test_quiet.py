"""Waiting for a quiet host: when, how long, and what is said; on a made host, and once beside a real busy program."""

import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from greenray.worker.quiet import LOOK_S, HostSource, QuietHost, Sample, own_roots
from tests.support.burning import running
from tests.support.processes import wait_until

BUSY = {7: ("python", 0.99)}


@dataclass
class MadeHost:
    """A host whose others use so many processors, by pid, at a time; time passes when somebody sleeps.

    `own` are processors that GreenRay itself keeps busy, `hidden` those that others keep busy who cannot be seen.
    """

    others: Callable[[float], dict[int, tuple[str, float]]] = lambda now: {}
    own: float = 0.0
    hidden: float = 0.0
    steal: float = 0.0
    now_s: float = 100.0
    samples: int = 0
    closed: bool = False
    said: list[str] = field(default_factory=list)
    _used: dict[int, tuple[str, float]] = field(default_factory=dict)
    _host_s: float = 5.0

    def sample(self) -> Sample:
        self.samples += 1
        since_s = self.now_s - 100.0
        own_s, stolen_s = 1.0 + self.own * since_s, self.steal * since_s
        return Sample(at_s=self.now_s, host_s=self._host_s, stolen_s=stolen_s, own_s=own_s, others=dict(self._used))

    def sleep(self, seconds: float) -> None:
        for pid, (name, cpus) in self.others(self.now_s - 100.0).items():
            self._used[pid] = name, self._used.get(pid, (name, 0.0))[1] + cpus * seconds
            self._host_s += cpus * seconds
        self._host_s += (self.own + self.hidden) * seconds
        self.now_s += seconds

    def close(self) -> None:
        self.closed = True

    def quiet(self, *, longest_s: float = 20.0) -> QuietHost:
        def sleep(seconds: float) -> None:
            if quiet.waiting is not None and quiet.waiting not in self.said:
                self.said.append(quiet.waiting)
            self.sleep(seconds)

        quiet = QuietHost(self, longest_s=longest_s, logical_cores=2, sleep=sleep)
        return quiet


def always(now: float) -> dict[int, tuple[str, float]]:
    return {**BUSY, 8: ("idler", 0.001)}


def test_a_quiet_host_costs_one_look_for_all_cells() -> None:
    host = MadeHost(own=0.9)  # what GreenRay does itself is nobody else's
    quiet = host.quiet()
    for _ in range(3):
        quiet.wait()
        quiet.ended(contended=False)
    assert (host.samples, host.now_s - 100.0, host.said) == (2, LOOK_S, [])


def test_it_waits_until_the_host_is_quiet_and_says_who_is_busy() -> None:
    host = MadeHost(others=lambda now: BUSY if now < 3 else {})
    quiet = host.quiet()
    assert quiet.wait() == pytest.approx(3 + LOOK_S)
    # The program was not there at the first look; from the second on its time is known.
    assert host.said[-1] == "python (pid 7) keeps 0.99 CPUs busy"
    assert quiet.waiting is None


def test_after_a_spoiled_cell_it_looks_again() -> None:
    host = MadeHost()
    quiet = host.quiet()
    quiet.wait()
    quiet.ended(contended=True)
    quiet.wait()
    quiet.ended(contended=False)
    quiet.wait()
    assert host.now_s - 100.0 == 2 * LOOK_S


def test_waits_that_run_out_get_shorter_and_a_quiet_look_makes_patience_whole() -> None:
    busy = True
    host = MadeHost(others=lambda now: BUSY if busy else {})
    quiet = host.quiet()

    def waited() -> float:
        quiet.ended(contended=True)
        return quiet.wait()

    assert [waited() for _ in range(7)] == [20, 10, 5, 2.5, 1.5, 1, 1]
    busy = False
    assert waited() == LOOK_S
    busy = True
    assert waited() == 20


def test_no_waiting_was_asked_for() -> None:
    host = MadeHost(others=always)
    assert host.quiet(longest_s=0).wait() == 0
    assert host.samples == 0


def test_who_cannot_be_seen_is_said_to_be_elsewhere() -> None:
    host = MadeHost(hidden=0.9)
    host.quiet(longest_s=2).wait()
    assert host.said == ["somebody outside this container or process table keeps 0.90 CPUs busy"]


def test_stolen_time_is_waited_for_too() -> None:
    host = MadeHost(steal=0.4)
    assert host.quiet(longest_s=2).wait() == 2
    assert host.said == ["the hypervisor took 0.40 processors away"]


def test_a_host_that_hides_its_activity_is_not_waited_for() -> None:
    class Hidden(MadeHost):
        def sample(self) -> Sample:
            return Sample(at_s=self.now_s, host_s=math.nan, stolen_s=math.nan, own_s=0.0, others={})

    assert Hidden(others=always).quiet().wait() == LOOK_S


def test_without_ray_only_this_process_is_ours() -> None:
    assert own_roots() == [os.getpid()]


@pytest.mark.timeout(90)
def test_beside_a_real_busy_program_it_is_named_and_waited_for() -> None:
    # Nothing is ours, so that a child of this process is somebody else.
    quiet = QuietHost(HostSource(own=()), longest_s=8, logical_cores=2)
    with running() as first, running() as second:
        thread = threading.Thread(target=quiet.wait)
        thread.start()
        names = tuple(f"(pid {pid}) keeps " for pid in (first, second))
        # Where the tests' own load is greater, it is named too: each look names the two busiest.
        wait_until(lambda: any(name in (quiet.waiting or "") for name in names), timeout_s=30, what="a name")
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert quiet.waiting is None
    quiet.close()


@pytest.mark.timeout(60)
def test_processes_of_ours_are_no_neighbours() -> None:
    with running() as pid:
        source = HostSource(own=[pid])
        before, after = source.sample(), source.sample()
        assert pid not in before.others
        assert os.getpid() in before.others
        assert after.own_s >= before.own_s > 0
        source.close()
