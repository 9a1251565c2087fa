"""Boards that torch cannot use: a sweep that may use them ends in torch's own sentence, and never falls back in silence."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from greenray.config.spec import SweepConfig
from greenray.driver.pool import Starting
from greenray.driver.progress import Interrupts, StopNow
from greenray.driver.ray_pool import RayPool, _Place
from greenray.driver.sweep import _cpu_only, _workers_up
from greenray.errors import ResourceError
from greenray.worker.assignment import WorkerInfo
from tests import simnvml
from tests.driver.pretend_pool import TRAIN, Notes, config_of, fresh, slot
from tests.support.plugins import pretend_cuda, pretend_fault
from tests.support.running import greenray, write_config

TOO_OLD = "the driver is too old. Upgrade the driver"


class ComingUp:
    """What `_workers_up` asks of a pool; each refresh brings the next workers."""

    def __init__(self, *turns: Sequence[str]) -> None:
        self._turns = list(turns)
        self.workers = []
        self.unusable: dict[str, str] = {}
        self.unshared: list[str] = []
        self.starting: list[Starting] = []

    def refresh(self) -> None:
        for name in self._turns.pop(0) if self._turns else ():
            if name.startswith("unusable"):
                self.unusable[name] = TOO_OLD
            else:
                self.workers.append(slot(name, cuda=name.startswith("cuda")))
        self.starting = [Starting(host=f"host-{left}", since_s=1.0) for left, _ in enumerate(self._turns)]

    def explain(self, what: str) -> str:
        return what


def up(pool: ComingUp, config: SweepConfig, *, late_s: float = 0.0, notes: Notes | None = None) -> list[WorkerInfo]:
    asked: Any = {"pool": cast(RayPool, pool), "watcher": notes or Notes(), "interrupts": Interrupts()}
    return _workers_up(config, out="out", late_s=late_s, **asked)


AUTO = config_of(fresh("compile", devices=("auto",)))


@pytest.mark.parametrize("others", [(), ("cpu",)])
def test_a_host_whose_boards_torch_cannot_use_does_not_become_a_cpu_host(others: Sequence[str]) -> None:
    with pytest.raises(ResourceError) as caught:
        up(ComingUp(["unusable-a", "unusable-b", *others]), AUTO)
    said = str(caught.value)
    assert said.startswith(f"unusable-a, unusable-b: {TOO_OLD}. ")
    assert said.endswith("devices: [cpu].")


def test_with_usable_boards_elsewhere_the_sweep_goes_on_there() -> None:
    notes = Notes()
    infos = up(ComingUp(["unusable"], ["cuda", "cpu"]), AUTO, notes=notes)
    assert [info.uses_cuda for info in infos] == [True, False]
    assert [worker.host for worker in notes.waited_for] == ["host-0"]


def test_in_a_cluster_usable_boards_may_come_a_little_later() -> None:
    pool = ComingUp(["unusable"], [], ["cuda"])
    refresh, pool.starting = pool.refresh, []

    def unseen() -> None:
        refresh()
        pool.starting = []  # nobody is known to come

    pool.refresh = unseen  # type: ignore[method-assign]
    assert [info.uses_cuda for info in up(pool, AUTO, late_s=60.0)] == [True]


def test_ctrl_c_ends_the_wait() -> None:
    interrupts = Interrupts()
    interrupts.count = 1
    with pytest.raises(StopNow):
        _workers_up(AUTO, out="out", late_s=0, pool=cast(RayPool, ComingUp()), watcher=Notes(), interrupts=interrupts)


@pytest.mark.parametrize(
    ("devices", "only"), [(("cpu",), True), (("auto",), False), (("cuda", "cpu"), False), (("auto", "cpu"), False)]
)
def test_the_processor_was_asked_for_where_every_experiment_names_it_alone(devices: tuple[str, ...], only: bool) -> None:
    assert _cpu_only(config_of({**TRAIN, "devices": ["cpu"]}, fresh("compile", devices=devices))) is only


class OneActor:
    """Of Ray what `RayPool` needs for workers that have already said what they are."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def remote(self, **_: object) -> Any:
        return lambda kind: kind

    def wait(self, refs: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return refs, []

    def get(self, ref: Any) -> Any:
        return ref

    def nodes(self) -> list[Any]:
        return []


@pytest.mark.parametrize("cpu_only", [False, True])
def test_its_workers_are_refused_or_said_to_be_measured_only(cpu_only: bool) -> None:
    said: list[str] = []
    pool = RayPool(OneActor(), settings=cast(Any, SimpleNamespace(out="out")), say=said.append, cpu_only=cpu_only)
    for number in range(2):
        info = replace(slot(f"b{number}").info, gpu_uuid=f"GPU-{number}", unusable=TOO_OLD)
        pool._starting[_Place(node_id="n", number=number, host=info.host, has_gpu=True)] = (None, info, 0.0)
    for place in list(pool._starting):
        pool._take_in(place, now=1.0)
    if cpu_only:
        assert said == [f"host-of-m: the board is measured, and not used: {TOO_OLD}"] * 2
        assert (len(pool.workers), pool.refusals) == (2, [])
    else:
        assert said == [f"refused: board GPU-0 on host-of-m: {TOO_OLD}"]  # once a host
        assert pool.refusals == [f"board GPU-{number} on host-of-m: {TOO_OLD}" for number in range(2)]
        assert pool.unusable == {"host-of-m": TOO_OLD}
        assert pool.workers == []


@pytest.mark.timeout(170)
def test_a_driver_too_old_for_torch_ends_the_sweep_in_torchs_own_sentence(tmp_path: Path) -> None:
    board = simnvml.uuid_of(0)
    env = {
        **simnvml.environment(simnvml.build(tmp_path / "lib")),
        pretend_cuda.BOARDS: board,
        pretend_fault.OLD_DRIVER: "12080",
    }
    serving = fresh("baseline", datasets=[{"id": "digits", "samples": 32}], devices=["auto"])
    ended = greenray("sweep", write_config(tmp_path, serving), "--out", tmp_path / "out", timeout_s=150, env=env)
    assert ended.code == 2, ended.out
    last = ended.err.strip().splitlines()[-1]
    assert pretend_fault.TOO_OLD.format(12080) in last
    assert f"The host has driver {simnvml.DRIVER_VERSION}, and torch's CUDA 13.0 needs 580 or later" in last
    assert "--index-url https://download.pytorch.org/whl/cu126" in last
    assert last.endswith("devices: [cpu].")
    assert f"refused: board {board} on " in ended.out
    assert not (tmp_path / "out" / "cells").exists()
