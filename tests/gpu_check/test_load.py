"""The real load's end of the line, with a stand-in for its process."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenray.errors import MeasurementError
from tests.gpu_check.load import CudaLoad

UUID = "GPU-51a00000-0000-4000-8000-000000000000"
COMMAND = (sys.executable, str(Path(__file__).with_name("stand_in_player.py")))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], CudaLoad]]:
    """Makes loads whose CUDA opens the given board; closed at the end."""
    opened: list[CudaLoad] = []

    def make(found: str = UUID.removeprefix("GPU-"), answer_s: float = 20.0) -> CudaLoad:
        monkeypatch.setenv("STAND_IN_UUID", found)
        opened.append(CudaLoad(UUID, command=COMMAND, answer_s=answer_s))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_work_is_passed_on_and_the_process_ends_with_the_load(load) -> None:
    one = load()
    assert one.work("gpu-bound", seconds=0.1) == 12.5
    process = one._process
    assert process.poll() is None
    one.play("none")
    assert process.poll() == 0
    assert one.work("gpu-bound", seconds=0.1) == 12.5  # a new one
    assert one.truth() is None


def test_another_board_is_refused(load) -> None:
    with pytest.raises(MeasurementError, match="where GPU-51a00000"):
        load("51a01111-0000-4000-8000-000000000001").play("context")


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("steady", "the load ended at steady: out of memory on the board"),
        ("bursts", "the load failed at bursts: RuntimeError: no kernel image"),
        ("model", "the load did not answer to model within 1 s"),
    ],
)
def test_whatever_goes_wrong_is_a_sentence(load, mode: str, sentence: str) -> None:
    one = load(answer_s=1.0)
    with pytest.raises(MeasurementError, match=sentence):
        one.play(mode)


def test_cuda_is_asked_in_a_fresh_process(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A torch of one file: what matters here is the variables that the process gets and how its answer is read.
    (tmp_path / "torch.py").write_text(
        "import os, types\n"
        "print('a banner')\n"
        "names = os.environ.get('CUDA_VISIBLE_DEVICES', '7').split(',')\n"
        "properties = lambda index: types.SimpleNamespace(uuid='uuid-of-' + names[index])\n"
        "cuda = types.SimpleNamespace(device_count=lambda: len(names), get_device_properties=properties)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    one = load()
    assert one.cuda_uuids({"CUDA_VISIBLE_DEVICES": "1,0"}) == ["uuid-of-1", "uuid-of-0"]
    assert one.cuda_uuids({}) == ["uuid-of-7"]  # the caller's own choice of boards is not handed on
    (tmp_path / "torch.py").write_text("raise RuntimeError('no driver')\n")
    with pytest.raises(MeasurementError, match="RuntimeError: no driver"):
        one.cuda_uuids({})
