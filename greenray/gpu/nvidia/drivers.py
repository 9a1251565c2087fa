"""Which driver the CUDA of a torch needs, and what to do about boards that a torch cannot use. Facts in, sentences out."""

import re

from greenray.gpu.base import Problem

# Least driver on Linux by major version of CUDA: what was built for any 12.x runs from the first driver of 12 on. November 2026,
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html and the release notes of the toolkit.
LEAST_DRIVERS: dict[int, tuple[int, ...]] = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580,)}
# Builds of the same torch for an older CUDA, by its major version: https://pytorch.org/get-started/locally
WHEELS = {12: "https://download.pytorch.org/whl/cu126"}

_TORCH = "pip install --force-reinstall torch"
_SWITCHES_ASLEEP = "not yet initialized"  # CUDA's error 802: boards joined by NVSwitch wait for the service that joins them


def unusable(why: str, *, driver: str, built_for: str | None) -> Problem:
    """What to tell where torch cannot use a board, see `greenray.gpu.base.Gpu.unusable`.

    The table explains a refusal of torch's and makes none: under NVIDIA's package for forward compatibility older drivers do.
    """
    has = f"driver {driver}" if driver else "an unknown driver"
    major = _numbers(built_for or "")[:1]
    wheels = [f"{_TORCH} --index-url {url}" for cuda, url in WHEELS.items() if runs(driver, cuda)]
    if not major:
        commands = [_TORCH] if runs(driver, max(LEAST_DRIVERS)) or not wheels else wheels
        what, mend = f"The host has boards, with {has}.", "Install a torch that is built for CUDA."
    elif runs(driver, major[0]):
        commands = ["nvidia-smi", "sudo dmesg | grep -i xid"]
        if _SWITCHES_ASLEEP in why:
            commands = ["sudo systemctl enable --now nvidia-fabricmanager"]
        what, mend = f"The host has {has}, and torch is built for CUDA {built_for}.", "See what keeps it from the board."
    else:
        least = ".".join(f"{number:02d}" for number in LEAST_DRIVERS[major[0]])
        commands = wheels
        what = f"The host has {has}, and torch's CUDA {built_for} needs {least} or later."
        mend = "Upgrade the driver" + (", or install a torch that is built for an older CUDA." if wheels else ".")
    return Problem(part="GPU", what=f"{why[:1].upper()}{why[1:].rstrip('.')}. {what}", mend=mend, commands=commands)


def runs(driver: str, cuda: int) -> bool:
    """Whether a driver is new enough for a major version of CUDA, as far as both are known."""
    installed = _numbers(driver)
    return not installed or installed >= LEAST_DRIVERS.get(cuda, ())


def _numbers(version: str) -> tuple[int, ...]:
    """570.86.15 as numbers, for comparison; () where it begins with none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
