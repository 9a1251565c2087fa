"""A second vendor, as one would be added: one module with what `greenray.gpu.base.Vendor` asks for. His GPU draws 120 W."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu, Problem, VendorReport

POWER_W, COUNTER_S = 120.0, 0.01
ABSENT = "MADE_ABSENT"
"""Environment variable; names a file while whose existence the GPU does not answer."""

VISIBLE = "MADE_VISIBLE_DEVICES"
PRELOAD_ENVIRONMENT = {VISIBLE: "none"}
DEVICE_PREFIX = "/dev/made"


class MadeMeter:
    """A counter that moves a hundred times a second, and power as it is."""

    counter_missing: str | None = None
    power_source: str | None = "gpu"
    lost = False
    fault: str | None = None

    def sample(self) -> tuple[float, float]:
        return POWER_W * COUNTER_S * (time.monotonic() // COUNTER_S), POWER_W

    def sample_slow(self) -> tuple[float, float, float, float]:
        return 0.5, 40.0, 1500.0, 0.0

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeGpu(Gpu):
    vendor: str = "made"

    def meter(self) -> MadeMeter:
        return MadeMeter()

    def answers(self) -> bool:
        return not Path(os.environ.get(ABSENT, "/nowhere")).exists()

    def lost(self) -> MeasurementError:
        return MeasurementError(f"made GPU {self.uuid} is lost")

    def memory_used_bytes(self) -> int | None:
        return 1 << 20

    def memory_held_bytes(self) -> int | None:
        return 0

    def cpu_affinity(self) -> list[int] | None:
        return None

    def processes(self) -> list[int] | None:
        return []

    def power_w(self) -> float | None:
        return POWER_W

    def temperature_c(self) -> float | None:
        return 40.0

    def is_same(self, uuid: str) -> bool:
        return self.uuid == uuid

    def unusable(self, why: str, *, built_for: str | None) -> Problem:
        return Problem(part="GPU", what=f"{why}.", mend="Make another.")

    def details(self) -> dict[str, object]:
        return {"made_of": "nothing"}


def start() -> str | None:
    return None


def gpus() -> list[Gpu]:
    return [MadeGpu(index=0, uuid="MADE-0", name="Made 1", driver_version="7")]


def silent() -> int:
    return 0


def on_bus() -> int:
    return 1


def resolve(accelerator: str, available: Sequence[Gpu]) -> Gpu | None:
    return next((gpu for gpu in available if gpu.uuid == accelerator), None)


def visible(environ: Mapping[str, str], available: Sequence[Gpu]) -> list[Gpu]:
    return [] if environ.get(VISIBLE) == "none" else list(available)


def environment_for(uuid: str | None) -> dict[str, str]:
    return {VISIBLE: uuid or "none"}


def problems(found: VendorReport, *, container: str | None, sees_all_processes: bool) -> Iterator[Problem]:
    for gpu in found.gpus:
        yield Problem(part=f"GPU {gpu['index']}", what=f"It is made of {gpu['made_of']}.", mend="Buy one.", commands=["true"])
