"""What is told of boards that torch cannot use: which driver there is, which is needed, and the way on."""

import pytest

from greenray.gpu.nvidia.drivers import LEAST_DRIVERS, runs, unusable

OLDER = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
NEWEST = "pip install --force-reinstall torch"


@pytest.mark.parametrize(
    ("driver", "cuda", "enough"),
    [
        ("580.65.06", 13, True),
        ("580", 13, True),
        ("570.172.08", 13, False),
        ("570.172.08", 12, True),
        ("525.60.13", 12, True),
        ("525.53", 12, False),
        ("470.256.02", 12, False),
        ("470.256.02", 11, True),
        ("580.65.06", 99, True),  # not known yet: torch knows
        ("", 13, True),
        ("unknown", 13, True),
    ],
)
def test_a_driver_is_held_against_what_a_cuda_needs(driver: str, cuda: int, enough: bool) -> None:
    assert runs(driver, cuda) is enough


def test_newer_versions_need_newer_drivers() -> None:
    assert sorted(LEAST_DRIVERS.values()) == [LEAST_DRIVERS[cuda] for cuda in sorted(LEAST_DRIVERS)]


@pytest.mark.parametrize(
    ("driver", "built_for", "what", "mend", "commands"),
    [
        ("570.86.15", "13.0", "driver 570.86.15, and torch's CUDA 13.0 needs 580 or later", "older CUDA", [OLDER]),
        ("470.256.02", "13.0", "driver 470.256.02, and torch's CUDA 13.0 needs 580 or later", "Upgrade the driver.", []),
        ("470.256.02", "12.6", "driver 470.256.02, and torch's CUDA 12.6 needs 525.60.13 or later", "Upgrade the driver.", []),
        ("580.65.06", "13.0", "driver 580.65.06, and torch is built for CUDA 13.0", "what keeps it", ["nvidia-smi"]),
        ("", "13.0", "an unknown driver, and torch is built for CUDA 13.0", "what keeps it", ["nvidia-smi"]),
        ("580.65.06", None, "has boards, with driver 580.65.06", "built for CUDA", [NEWEST]),
        ("570.86.15", None, "has boards, with driver 570.86.15", "built for CUDA", [OLDER]),
    ],
)
def test_every_reason_has_its_driver_and_its_mend(
    driver: str, built_for: str | None, what: str, mend: str, commands: list[str]
) -> None:
    told = unusable("torch says no", driver=driver, built_for=built_for)
    assert told.what.startswith("Torch says no. ")
    assert what in told.what
    assert mend in told.mend
    assert list(told.commands)[: len(commands)] == commands
    assert bool(told.commands) == bool(commands)
    assert "\n" not in told.sentence


def test_boards_that_wait_for_their_switches_are_told_from_broken_ones() -> None:
    told = unusable("Error 802: system not yet initialized", driver="580.65.06", built_for="13.0")
    assert told.commands == ["sudo systemctl enable --now nvidia-fabricmanager"]
