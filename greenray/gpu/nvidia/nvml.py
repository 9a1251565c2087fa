"""Boards and who they are: by UUID, through NVML, without a CUDA context.

NVML ignores CUDA_VISIBLE_DEVICES and orders boards by PCI bus, as nvidia-smi shows them; CUDA does so only under
CUDA_DEVICE_ORDER=PCI_BUS_ID, by default its first board is the fastest. A worker's integer id is an NVML index, and its cells are
given the full UUID, so that they compute on the board that is measured in whichever order the user's CUDA counts.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pynvml

from greenray.errors import MeasurementError

logger = logging.getLogger(__name__)

IN_MIG_MODE = "the board is in MIG mode: energy is known per board only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board. `handle` is NVML's; power_limit_w is None where the board does not tell."""

    index: int
    uuid: str
    name: str
    pci_bus_id: str
    driver_version: str
    power_limit_w: float | None
    mig: bool
    persistence: bool | None
    handle: Any

    def answers(self) -> bool:
        """Whether the board is still there."""
        return text(ask("nvmlDeviceGetUUID", self.handle)) == self.uuid

    def lost(self) -> MeasurementError:
        """What to raise when it is not."""
        return MeasurementError(f"board {self.uuid} is lost: it no longer answers (nvidia-smi -q, or restart the host)")

    def memory_used_bytes(self) -> int | None:
        """Memory in use by everybody; None where the board does not tell."""
        info = ask("nvmlDeviceGetMemoryInfo", self.handle)
        return None if info is None else int(info.used)

    def processes(self) -> list[int] | None:
        """Pids (of NVML's own namespace) with a context on the board; None where the board does not tell."""
        compute = ask("nvmlDeviceGetComputeRunningProcesses", self.handle)
        if compute is None:
            return None
        graphics = ask("nvmlDeviceGetGraphicsRunningProcesses", self.handle) or []
        return sorted({int(process.pid) for process in [*compute, *graphics]})


def ask(function: str, *arguments: Any) -> Any:
    """One NVML call by name; None when the board or driver does not answer it."""
    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        logger.debug("%s: %s", function, error)
        return None


def start() -> str | None:
    """Initialises NVML; returns None, or why there is none (a sentence)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML is not available ({error})"
    return None


def boards() -> list[Board]:
    """Every board of the host in PCI bus order; NVML must have been started. Boards that do not answer are left out."""
    found = []
    driver = text(ask("nvmlSystemGetDriverVersion"))
    for index in range(ask("nvmlDeviceGetCount") or 0):
        handle = ask("nvmlDeviceGetHandleByIndex", index)
        uuid = None if handle is None else ask("nvmlDeviceGetUUID", handle)
        if uuid is None:
            logger.warning("board %d does not answer and is left out", index)
            continue
        found.append(_board(index, handle, text(uuid), driver))
    return found


def _board(index: int, handle: Any, uuid: str, driver: str) -> Board:
    limit = ask("nvmlDeviceGetEnforcedPowerLimit", handle)
    pci = ask("nvmlDeviceGetPciInfo", handle)
    mig = ask("nvmlDeviceGetMigMode", handle)
    persistence = ask("nvmlDeviceGetPersistenceMode", handle)
    return Board(
        index=index,
        uuid=uuid,
        name=text(ask("nvmlDeviceGetName", handle)),
        pci_bus_id="" if pci is None else text(pci.busId),
        driver_version=driver,
        power_limit_w=None if limit is None else limit / 1000,
        mig=bool(mig and mig[0]),
        persistence=None if persistence is None else bool(persistence),
        handle=handle,
    )


def text(value: bytes | str | None) -> str:
    """NVML answers in bytes or text, depending on the version of its Python module."""
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else value


def resolve(accelerator: str, available: list[Board]) -> Board:
    """The board that an accelerator id means: an NVML index as text, or a full or shortened UUID (with or without `GPU-`).

    Raises:
        MeasurementError: no such board, an ambiguous UUID, or a board in MIG mode; the sentence says which.
    """
    wanted = accelerator.strip()
    if wanted.upper().startswith("MIG"):
        raise MeasurementError(f"{wanted} is a MIG instance: energy is known per board only; turn MIG off (nvidia-smi -mig 0)")
    by_index = wanted.isdecimal() and len(wanted) < 4
    if by_index:
        matches = [board for board in available if board.index == int(wanted)]
    else:
        matches = [board for board in available if _bare(board.uuid).startswith(_bare(wanted)) and _bare(wanted)]
    if not matches and by_index and int(wanted) < (ask("nvmlDeviceGetCount") or 0):
        raise MeasurementError(f"board {wanted} is lost: it does not answer (nvidia-smi -q, or restart the host)")
    if not matches:
        known = ", ".join(f"{board.index} = {board.uuid}" for board in available) or "none"
        raise MeasurementError(f"no board matches {accelerator!r}; NVML sees: {known}")
    if len(matches) > 1:
        raise MeasurementError(f"{accelerator!r} is short for more than one board: {', '.join(board.uuid for board in matches)}")
    board = matches[0]
    if board.mig:
        mend = f"turn MIG off (nvidia-smi -i {board.index} -mig 0)"
        raise MeasurementError(f"board {board.uuid} is in MIG mode: energy is known per board only; {mend}")
    return board


def visible(environ: Mapping[str, str], available: list[Board]) -> list[Board]:
    """The boards that CUDA_VISIBLE_DEVICES leaves, in its order; all when it is not set, none when it is empty.

    As in CUDA, the list ends at the first entry that means no board, and an abbreviated UUID means one if it fits that one only.
    More is taken than by CUDA, which wants capitals in `GPU-`, small letters after it, one kind of entry and none of them twice:
    rather a board too many than one that is missed.

    Raises:
        MeasurementError: it names a MIG instance or a board in MIG mode, or it picks boards by number where CUDA counts
            differently from NVML.
    """
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(available)
    chosen: list[Board] = []
    numbered = False
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.upper().startswith("MIG"):
            resolve(entry, available)
        by_uuid = entry.upper().startswith("GPU-")
        board = _by_uuid(entry, available) if by_uuid else _by_number(entry, available)
        if board is None:
            break
        numbered |= not by_uuid
        if board not in chosen:
            chosen.append(resolve(board.uuid, available))
    if numbered and len(chosen) < len(available):
        _require_one_order(environ, available)
    return chosen


def _by_uuid(entry: str, available: list[Board]) -> Board | None:
    found = [board for board in available if board.uuid.lower().startswith(entry.lower())]
    return found[0] if len(found) == 1 else None


def _by_number(entry: str, available: list[Board]) -> Board | None:
    """CUDA reads the number that the entry begins with: `1gpu` is 1."""
    digits = re.match(r"\+?\d+", entry)
    return None if digits is None else next((board for board in available if board.index == int(digits[0])), None)


def _require_one_order(environ: Mapping[str, str], available: list[Board]) -> None:
    if environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({board.name for board in available}) > 1:
        raise MeasurementError(
            f"CUDA_VISIBLE_DEVICES={environ['CUDA_VISIBLE_DEVICES']} counts boards fastest first, which on this host of unlike "
            "boards is not the order in which they are measured; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name them by UUID "
            "(nvidia-smi -L)"
        )


def same_gpu(first: str, second: str) -> bool:
    """Whether two full UUIDs name one board; CUDA leaves out the `GPU-` prefix."""
    return _bare(first) == _bare(second) != ""


def function(name: str) -> Any:
    """NVML's C function itself, for the sampling thread: a tenth of the cost of the checked Python call. None when it is missing.

    The call gives the interpreter's lock away while it runs.
    """
    try:
        return pynvml._nvmlGetFunctionPointer(name)
    except pynvml.NVMLError:
        return None


def sentence(code: int) -> str:
    """What an NVML return code means."""
    try:
        return str(pynvml.NVMLError(code))
    except Exception:  # an unknown code of a newer driver
        return f"NVML error {code}"


def field_values(*wanted: tuple[int, int]) -> Any:
    """An array of NVML field values for (field, scope) pairs, to be filled again and again."""
    values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
    for value, (field_id, scope) in zip(values, wanted, strict=True):
        value.fieldId, value.scopeId = field_id, scope
    return values


def _bare(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")
