"""NVIDIA's GPUs and who they are: by UUID, through NVML, without a CUDA context.

NVML ignores CUDA_VISIBLE_DEVICES and orders boards by PCI bus, as nvidia-smi shows them; CUDA does so only under
CUDA_DEVICE_ORDER=PCI_BUS_ID, by default its first board is the fastest. A worker's integer id is an NVML index, and its cells are
given the full UUID, so that they compute on the board that is measured in whichever order the user's CUDA counts.
"""

import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu, Problem
from greenray.gpu.nvidia import drivers, nvml
from greenray.gpu.nvidia.advice import problems as problems

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICE_PREFIX = "/dev/nvidia"
PRELOAD_ENVIRONMENT: Mapping[str, str | None] = {
    VISIBLE: "",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # else torch.cuda.is_available() makes CUDA calls; torchao asks at import
}
start = nvml.start
_AFFINITY_WORDS = 64  # of 64 processors each


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu(Gpu):
    """One board. `handle` is NVML's; `persistence` is None where the board does not tell."""

    vendor: str = "nvidia"
    persistence: bool | None = None
    handle: Any = None

    def meter(self) -> nvml.NvmlMeter:
        return nvml.NvmlMeter(self.handle)

    def answers(self) -> bool:
        return nvml.ask_text("nvmlDeviceGetUUID", self.handle) == self.uuid

    def lost(self) -> MeasurementError:
        return MeasurementError(f"board {self.uuid} is lost: it no longer answers (nvidia-smi -q, or restart the host)")

    def memory_used_bytes(self) -> int | None:
        info = nvml.ask("nvmlDeviceGetMemoryInfo", self.handle)
        return None if info is None else int(info.used)

    def memory_held_bytes(self) -> int | None:
        # Whether `used` of version 2 counts what is reserved, NVML's own pages disagree on; what is free is neither.
        info = nvml.ask("nvmlDeviceGetMemoryInfo", self.handle, pynvml.nvmlMemory_v2)
        return None if info is None else int(info.total - info.free - info.reserved)

    def cpu_affinity(self) -> list[int] | None:
        words = nvml.ask("nvmlDeviceGetCpuAffinity", self.handle, _AFFINITY_WORDS)
        if words is None:
            return None
        return [64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1]

    def processes(self) -> list[int] | None:
        compute = nvml.ask("nvmlDeviceGetComputeRunningProcesses", self.handle)
        if compute is None:
            return None
        graphics = nvml.ask("nvmlDeviceGetGraphicsRunningProcesses", self.handle) or []
        return sorted({int(process.pid) for process in [*compute, *graphics]})

    def power_w(self) -> float | None:
        return nvml.ask_number("nvmlDeviceGetPowerUsage", self.handle, per=1000)  # about 1 s on Ampere and later

    def temperature_c(self) -> float | None:
        return nvml.ask_number("nvmlDeviceGetTemperature", self.handle, pynvml.NVML_TEMPERATURE_GPU)

    def is_same(self, uuid: str) -> bool:
        return _bare(self.uuid) == _bare(uuid) != ""  # CUDA leaves out the `GPU-` prefix

    def unusable(self, why: str, *, built_for: str | None) -> Problem:
        return drivers.unusable(why, driver=self.driver_version, built_for=built_for)

    def details(self) -> dict[str, object]:
        default_w = nvml.ask_number("nvmlDeviceGetPowerManagementDefaultLimit", self.handle, per=1000)
        return {"mig": self.partitioned is not None, "persistence": self.persistence, "default_power_limit_w": default_w}


def gpus() -> list[Gpu]:
    """Every board of the host in PCI bus order; NVML must have been started. Boards that do not answer are left out."""
    found: list[Gpu] = []
    driver = nvml.ask_text("nvmlSystemGetDriverVersion")
    for index in range(_count()):
        handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        uuid = "" if handle is None else nvml.ask_text("nvmlDeviceGetUUID", handle)
        if not uuid:
            logger.warning("board %d does not answer and is left out", index)
            continue
        mig = nvml.ask("nvmlDeviceGetMigMode", handle)
        persistence = nvml.ask("nvmlDeviceGetPersistenceMode", handle)
        found.append(
            NvidiaGpu(
                index=index,
                uuid=uuid,
                name=nvml.ask_text("nvmlDeviceGetName", handle),
                driver_version=driver,
                power_limit_w=nvml.ask_number("nvmlDeviceGetEnforcedPowerLimit", handle, per=1000),
                partitioned="the board is in MIG mode: energy is known per board only" if mig and mig[0] else None,
                persistence=None if persistence is None else bool(persistence),
                handle=handle,
            )
        )
    return found


def silent() -> int:
    """How many boards NVML counts that do not answer."""
    return _count() - len(gpus())


def on_bus(*, root: Path = Path("/")) -> int:
    """How many NVIDIA display controllers the PCI bus has, driver or not; containers see the bus too."""
    found = 0
    for kind in (root / "sys/bus/pci/devices").glob("*/class"):
        with contextlib.suppress(OSError):  # a device may be taken off the bus meanwhile
            found += kind.read_text().startswith("0x03") and kind.with_name("vendor").read_text().strip() == "0x10de"
    return found


def resolve(accelerator: str, available: Sequence[Gpu]) -> Gpu | None:
    """The board that an accelerator id means: an NVML index as text, or a full or shortened UUID (with or without `GPU-`).

    Raises `MeasurementError`: an ambiguous UUID, a lost board, or one in MIG mode; the sentence says which.
    """
    wanted = accelerator.strip()
    if wanted.upper().startswith("MIG"):
        raise MeasurementError(f"{wanted} is a MIG instance: energy is known per board only; turn MIG off (nvidia-smi -mig 0)")
    by_index = wanted.isdecimal() and len(wanted) < 4
    if by_index:
        matches = [gpu for gpu in available if gpu.index == int(wanted)]
    else:
        matches = [gpu for gpu in available if _bare(gpu.uuid).startswith(_bare(wanted)) and _bare(wanted)]
    if not matches and by_index and int(wanted) < _count():
        raise MeasurementError(f"board {wanted} is lost: it does not answer (nvidia-smi -q, or restart the host)")
    if not matches:
        return None
    if len(matches) > 1:
        raise MeasurementError(f"{accelerator!r} is short for more than one board: {', '.join(gpu.uuid for gpu in matches)}")
    return _whole(matches[0])


def visible(environ: Mapping[str, str], available: Sequence[Gpu]) -> list[Gpu]:
    """The boards that CUDA_VISIBLE_DEVICES leaves, in its order; all when it is not set, none when it is empty.

    As in CUDA, the list ends at the first entry that means no board, and an abbreviated UUID means one if it fits that one only.
    More is taken than by CUDA, which wants capitals in `GPU-`, small letters after it, one kind of entry and none of them twice:
    rather a board too many than one that is missed.

    Raises `MeasurementError`: it names what is in MIG mode, or picks boards by number where CUDA counts differently from NVML.
    """
    wanted = environ.get(VISIBLE)
    if wanted is None:
        return list(available)
    chosen: list[Gpu] = []
    numbered = False
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.upper().startswith("MIG"):
            resolve(entry, available)
        if by_uuid := entry.upper().startswith("GPU-"):
            found = [gpu for gpu in available if gpu.uuid.lower().startswith(entry.lower())]
        else:
            digits = re.match(r"\+?\d+", entry)  # CUDA reads the number that the entry begins with: `1gpu` is 1
            found = [gpu for gpu in available if digits and gpu.index == int(digits[0])]
        if len(found) != 1:
            break
        numbered |= not by_uuid
        if found[0] not in chosen:
            chosen.append(_whole(found[0]))
    alike = len({gpu.name for gpu in available}) == 1
    if numbered and len(chosen) < len(available) and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and not alike:
        raise MeasurementError(
            f"CUDA_VISIBLE_DEVICES={wanted} counts boards fastest first, which on this host of unlike boards is not the order "
            "in which they are measured; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name them by UUID (nvidia-smi -L)"
        )
    return chosen


def environment_for(uuid: str | None) -> dict[str, str]:
    """Environment of a process that sees exactly the board of this UUID, or none."""
    return {VISIBLE: uuid or "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _whole(gpu: Gpu) -> Gpu:
    if gpu.partitioned is not None:
        mend = f"turn MIG off (nvidia-smi -i {gpu.index} -mig 0)"
        raise MeasurementError(f"{gpu.partitioned.replace('the board', f'board {gpu.uuid}')}; {mend}")
    return gpu


def _count() -> int:
    return nvml.ask("nvmlDeviceGetCount") or 0


def _bare(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")
