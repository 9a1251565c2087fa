"""Which board is meant: indices, full and shortened UUIDs, CUDA_VISIBLE_DEVICES."""

from dataclasses import replace

import pytest

from greenray.errors import MeasurementError
from greenray.gpu.nvidia.vendor import NvidiaGpu, resolve, visible


def board(index: int, uuid: str, *, mig: bool = False) -> NvidiaGpu:
    cut = "the board is in MIG mode: energy is known per board only" if mig else None
    return NvidiaGpu(index=index, uuid=uuid, name="made", partitioned=cut)


FIRST = board(0, "GPU-aaaa1111-0000-0000-0000-000000000000")
SECOND = board(1, "GPU-aaaa2222-0000-0000-0000-000000000000")
SLICED = board(2, "GPU-cccc0000-0000-0000-0000-000000000000", mig=True)
NUMBER = board(3, "GPU-12345678-0000-0000-0000-000000000000")
ALL = [FIRST, SECOND, SLICED, NUMBER]


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        ("0", FIRST),
        (" 1 ", SECOND),
        (SECOND.uuid, SECOND),
        (SECOND.uuid.removeprefix("GPU-"), SECOND),
        ("GPU-aaaa1", FIRST),
        ("gpu-AAAA2", SECOND),
        ("12345678", NUMBER),
    ],
)
def test_resolve(accelerator, expected):
    assert resolve(accelerator, ALL) is expected


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        ("GPU-aaaa", "more than one board"),
        ("2", "MIG mode"),
        ("GPU-cccc", "MIG mode"),
        ("MIG-GPU-aaaa/1/0", "MIG instance"),
    ],
)
def test_refusals_say_why(accelerator, words):
    with pytest.raises(MeasurementError, match=words):
        resolve(accelerator, ALL)


@pytest.mark.parametrize("accelerator", ["7", "GPU-dddd", ""])
def test_what_is_none_of_them_may_be_another_vendors(accelerator):
    assert resolve(accelerator, ALL) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ALL),
        ("", []),
        ("1,0", [SECOND, FIRST]),
        ("GPU-aaaa2,3", [SECOND, NUMBER]),
        ("0,-1,1", [FIRST]),
        ("0,9,1", [FIRST]),
        ("NoDevFiles", []),
        ("1,1", [SECOND]),
        ("1gpu2,+0", [SECOND, FIRST]),  # CUDA reads the number at the beginning
        ("12345678", []),  # a number, and no board has it: no UUID without `GPU-`
        (SECOND.uuid.removeprefix("GPU-"), []),
        ("GPU-aaaa2222,GPU-1", [SECOND, NUMBER]),
        ("gpu-AAAA2222", [SECOND]),
        ("GPU-aaaa,GPU-1", []),  # fits two boards
        ("GPU-1,GPU-aaaa", [NUMBER]),
        (NUMBER.uuid, [NUMBER]),
    ],
)
def test_visible(value, expected):
    assert visible({} if value is None else {"CUDA_VISIBLE_DEVICES": value}, ALL) == expected


@pytest.mark.parametrize("value", ["2", "MIG-1234", "0,2", "MIG-GPU-aaaa1111-0000-0000-0000-000000000000/1/0"])
def test_visible_refuses_mig(value):
    with pytest.raises(MeasurementError, match="MIG"):
        visible({"CUDA_VISIBLE_DEVICES": value}, ALL)


def test_cuda_leaves_out_the_prefix():
    assert FIRST.is_same("aaaa1111-0000-0000-0000-000000000000")
    assert not FIRST.is_same(SECOND.uuid)
    assert not FIRST.is_same("")


FAST = replace(board(4, "GPU-ffff0000-0000-0000-0000-000000000000"), name="a faster board")


@pytest.mark.parametrize("order", [{}, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}])
def test_numbers_that_cuda_counts_otherwise_are_not_guessed_at(order):
    unlike = [FIRST, SECOND, FAST]
    with pytest.raises(MeasurementError, match=r"counts boards fastest first.*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible({"CUDA_VISIBLE_DEVICES": "0", **order}, unlike)
    # All of them are all of them in any order, a UUID is no number, and equal boards are counted alike.
    everybody = [replace(FAST, index=2), SECOND, FIRST]
    assert visible({"CUDA_VISIBLE_DEVICES": "2,1,0", **order}, [FIRST, SECOND, everybody[0]]) == everybody
    assert visible({"CUDA_VISIBLE_DEVICES": FAST.uuid[:8], **order}, unlike) == [FAST]
    assert visible({"CUDA_VISIBLE_DEVICES": "1", **order}, [FIRST, SECOND]) == [SECOND]
    assert visible({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, unlike) == [FIRST]
