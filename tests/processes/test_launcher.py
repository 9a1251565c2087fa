"""Both launchers give the same process, and one that is fit to measure in."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenray.cell.preload import SETTLE
from greenray.cell.protocol import AnyMessage, Channel, Done
from greenray.processes.forkserver import ForkServer, Preload, fall_back, open_launcher
from greenray.processes.launcher import CellProcess, ExitStatus, Launcher, LaunchError, Spawn
from greenray.processes.tree import MARK, marked
from tests.support import ROOT
from tests.support.processes import FOLDER, LIGHT, all_dead

Launch = Callable[[str], Launcher]


def first_word(process: CellProcess) -> AnyMessage | None:
    return Channel(process.socket).receive(timeout_s=20)


def describe(process: CellProcess) -> dict[str, Any]:
    message = first_word(process)
    assert isinstance(message, Done)
    process.close()
    return message.settings


@pytest.fixture
def as_ray_leaves_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process in the state in which a worker finds itself: one thread, SIGINT blocked, a lower priority."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_a_cell_starts_clean(launch: Launch, tmp_path: Path, as_ray_leaves_it: None) -> None:
    launcher = launch("describes_itself")
    log_path = tmp_path / "cell.log"
    cell = describe(launcher.start(env={"OMP_NUM_THREADS": None, "PICKED": "here"}, log_path=log_path))
    assert cell["environment"]["CUDA_VISIBLE_DEVICES"] == "2"
    assert "OMP_NUM_THREADS" not in cell["environment"]
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in cell["environment"]
    assert cell["environment"]["PICKED"] == "here"
    assert cell["environment"][MARK] == launcher.mark
    assert cell["ignored_signals"] == cell["blocked_signals"] == []
    assert cell["leads_session"]
    assert cell["stdin"] == "/dev/null"
    assert cell["stdout"] == str(log_path)
    assert not cell["ray_imported"]
    assert cell["threads"] == 1


def test_a_cell_holds_nothing_open_but_its_own(launch: Launch, tmp_path: Path) -> None:
    cell = describe(launch("describes_itself").start(env={}, log_path=tmp_path / "cell.log"))
    channel, *others = sorted(cell["open_files"], key=lambda name: not name.startswith("socket:"))
    assert channel.startswith("socket:")
    assert [name for name in others if name not in ("null", "cell.log", "fd")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="raising one's priority needs privileges")
def test_ray_s_niceness_is_undone(launch: Launch, tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 15)
    try:
        cell = describe(launch("describes_itself").start(env={}, log_path=tmp_path / "cell.log"))
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
    assert cell["niceness"] == 0


def test_cells_follow_one_another(launch: Launch, tmp_path: Path) -> None:
    launcher = launch("describes_itself")
    pids = set()
    for _ in range(3):
        process = launcher.start(env={}, log_path=tmp_path / "cell.log")
        pids.add(process.pid)
        describe(process)
        assert process.poll() is not None
    assert len(pids) == 3


def test_closing_a_launcher_ends_its_cells(launch: Launch, tmp_path: Path) -> None:
    launcher = launch("hangs")
    process = launcher.start(env={}, log_path=tmp_path / "cell.log")
    first_word(process)
    assert process.poll() is None
    launcher.close()
    assert all_dead([process.pid], timeout_s=2.0)
    assert marked(launcher.mark) == []


def test_a_large_environment_arrives(launch: Launch, tmp_path: Path) -> None:
    large = "x" * 100_000
    cell = describe(launch("describes_itself").start(env={f"LARGE{i}": large for i in range(8)}, log_path=tmp_path / "cell.log"))
    assert all(cell["environment"][f"LARGE{i}"] == large for i in range(8))


def test_a_fork_server_that_died_is_started_again(tmp_path: Path) -> None:
    with ForkServer(target="tests.processes.sample_cells:describes_itself", preload=LIGHT) as launcher:
        first = launcher.start(env={}, log_path=tmp_path / "cell.log")
        describe(first)
        os.kill(launcher.pid, signal.SIGKILL)
        assert all_dead([launcher.pid], timeout_s=2.0)
        assert describe(launcher.start(env={}, log_path=tmp_path / "cell.log"))["leads_session"]


def test_a_module_that_cannot_be_preloaded_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ForkServer(
        target="tests.processes.sample_cells:returns", preload=Preload(modules=(*LIGHT.modules, "no_such_module"))
    ) as launcher:
        assert launcher.failed == {"no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"}
    assert "no_such_module" in caplog.text


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("hazard_initialises_cuda", "a module that the fork server preloads initialised CUDA"),
        ("hazard_calls_cuda", "a module that the fork server preloads made a CUDA call"),
        ("hazard_opens_device", "a module that the fork server preloads opened {devices}/nvidia0"),
        ("hazard_starts_thread", "a module that the fork server preloads started a thread (sampler)"),
        ("hazard_ends", "the fork server exited with code 7"),
        ("hazard_is_killed", "the fork server ended by SIGKILL"),
        ("hazard_hangs", "it took too long"),
    ],
)
def test_an_unfit_fork_server_is_replaced_by_spawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, module: str, reason: str
) -> None:
    (tmp_path / "nvidia0").touch()
    environment = {"PYTHONPATH": f"{FOLDER / 'hazards'}:{ROOT}", "DEVICES": str(tmp_path)}
    with open_launcher(
        target="tests.processes.sample_cells:returns",
        preload=Preload(modules=(module,), device_prefixes=(f"{tmp_path}/nvidia",), settle=SETTLE),
        environment=environment,
        deadline_s=0.5 if module == "hazard_hangs" else 60.0,
    ) as launcher:
        assert isinstance(launcher, Spawn)
        assert launcher.fallback_reason is not None
        assert launcher.fallback_reason.startswith(reason.format(devices=tmp_path))
        assert launcher.fallback_reason in caplog.text
        process = launcher.start(env={}, log_path=tmp_path / "cell.log")
        assert first_word(process) == Done(accuracy=0.5)
        assert process.wait(timeout_s=10) == ExitStatus(code=0)
        process.close()


def test_a_healthy_fork_server_is_no_fallback() -> None:
    with open_launcher(target="tests.processes.sample_cells:returns", preload=LIGHT) as launcher:
        assert isinstance(launcher, ForkServer)
        assert launcher.fallback_reason is None


def test_one_can_fall_back_later(tmp_path: Path) -> None:
    with ForkServer(target="tests.processes.sample_cells:returns", preload=LIGHT) as forks:
        server = forks.pid
        with fall_back(forks, reason="the first cell could not use its board") as launcher:
            assert all_dead([server], timeout_s=2.0)
            assert launcher.fallback_reason == "the first cell could not use its board"
            process = launcher.start(env={}, log_path=tmp_path / "cell.log")
            assert first_word(process) == Done(accuracy=0.5)
            process.close()


def test_a_process_that_cannot_be_started_is_a_launch_error(tmp_path: Path) -> None:
    with (
        Spawn(target="tests.processes.sample_cells:returns") as launcher,
        pytest.raises(LaunchError, match="no process can be started"),
    ):
        launcher.start(env={"TOO_LARGE": "x" * 3_000_000}, log_path=tmp_path / "cell.log")
