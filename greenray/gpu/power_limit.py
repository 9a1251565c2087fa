"""A board's power limit, lowered for a while and put back whatever happens.

A limit outlives the process that set it. So before it is changed a note of it is written and synced: a file a board, in a folder
of this host, locked by its writer for as long as that lives. Who finds one that is not locked (the guard that outlives a worker,
a later worker, `greenray doctor`) puts the limit back, unless somebody has set yet another one since, which is then theirs.
"""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from greenray.errors import NotApplied, Unsupported
from greenray.gpu import registry
from greenray.gpu.base import Gpu, PowerLimits
from greenray.processes.reaper import Survivor

logger = logging.getLogger(__name__)

STATE = "GREENRAY_STATE_DIR"
DEFAULT_STATE = "/var/tmp/greenray"  # survives a restart of the container's or host's services
_PREFIX = "power-limit-"
_SAME_W = 0.5
_SETTLE_S = 5.0
_OWNER_ENDS_S = 5.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The limit that is in force, in watts; what it was before, and what the board's default is."""

    limit_w: float
    limit_before_w: float
    limit_default_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is written down of a change; limits do not survive a restart of the host, which `boot_id` tells."""

    gpu_uuid: str
    before_w: float
    set_w: float
    boot_id: str


def state_folder() -> Path:
    """Where notes are kept; the same for all workers of a host, also in containers, where a folder of the host is mounted."""
    return Path(os.environ.get(STATE) or DEFAULT_STATE)


class Wanted(Protocol):
    """Tells the limit that is wanted, in watts, by the board's default."""

    def __call__(self, *, default_w: float) -> float | None: ...


@contextlib.contextmanager
def held(gpu: Gpu, wanted: Wanted) -> Iterator[Held]:
    """The board is limited inside the block to what `wanted` makes of its default limit; both in watts.

    Raises Unsupported, in a sentence, if it cannot be, NotApplied if that is its limit already; then nothing was changed.
    """
    recover(gpu.uuid)
    limits, watts = _checked(gpu, wanted)
    note = Note(gpu_uuid=gpu.uuid, before_w=limits.set_w, set_w=watts, boot_id=_boot_id())
    with contextlib.ExitStack() as at_end:
        try:
            guard = Survivor(target="greenray.gpu.power_limit:after_owner", arguments=[gpu.uuid])
            at_end.callback(guard.close)
            path = at_end.enter_context(_written(note))
        except (OSError, subprocess.SubprocessError) as error:
            raise Unsupported(
                f"power-limit: what has to be put back cannot be noted in {state_folder()} ({error}); "
                f"name a folder of this host with {STATE}"
            ) from error
        at_end.callback(_end, gpu, note, path)
        if refused := gpu.set_power_limit_w(watts):
            raise Unsupported(f"power-limit: the limit cannot be set ({refused}); run as root, or leave the tactic out")
        now_w = _in_force(gpu, watts)
        if now_w is None or abs(now_w - watts) >= _SAME_W:
            told = "is not told" if now_w is None else f"is {now_w:.0f} W"
            raise Unsupported(f"power-limit: {watts:.0f} W was set, and the limit in force {told}; leave the tactic out")
        yield Held(limit_w=now_w, limit_before_w=limits.set_w, limit_default_w=limits.default_w)


def recover(gpu_uuid: str | None = None, *, timeout_s: float = 0.0) -> list[str]:
    """Put back what dead processes of this host have left behind, on one board or all; returns what was found, in sentences.

    Waits up to `timeout_s` for an owner that is about to end; limits of the living are left alone.
    """
    said = []
    boards: dict[str, Gpu] | None = None
    for path in _notes(gpu_uuid):
        deadline = time.monotonic() + timeout_s
        while (descriptor := _locked(path)) is None and path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        if descriptor is None:
            continue
        try:
            note = Note(**json.loads(path.read_text()))
            boards = {gpu.uuid: gpu for gpu in registry.gpus()} if boards is None else boards
            if (sentence := _recover(note, boards.get(note.gpu_uuid), path)) is not None:
                said.append(sentence)
        except (OSError, ValueError, TypeError) as error:
            said.append(f"{path} cannot be read ({error}): look at the board's power limit, then remove the file")
        finally:
            os.close(descriptor)
    return said


def after_owner(gpu_uuid: str) -> None:
    """What the guard does when the process that held a limit is gone; nothing is left to do if it ended well."""
    recover(gpu_uuid, timeout_s=_OWNER_ENDS_S)


def _checked(gpu: Gpu, wanted: Wanted) -> tuple[PowerLimits, float]:
    limits = gpu.power_limits()
    if limits is None:
        raise Unsupported(f"power-limit: {gpu.name} does not tell its limits; leave the tactic out for this board")
    watts = wanted(default_w=limits.default_w)
    if watts is None:
        raise NotApplied("no power limit is asked for")
    if not limits.least_w - _SAME_W <= watts <= limits.most_w + _SAME_W:
        bounds = f"{limits.least_w:.0f} to {limits.most_w:.0f} W"
        raise Unsupported(f"power-limit: {watts:.0f} W is no limit for this board; give one from {bounds}")
    if abs(watts - limits.set_w) < _SAME_W:
        raise NotApplied(f"the board's power limit is {limits.set_w:.0f} W already")
    return limits, watts


def _end(gpu: Gpu, note: Note, path: Path) -> None:
    """Put the limit back; where that fails the note stays for whoever comes next."""
    if (problem := _put_back(gpu, note)) is None:
        path.unlink(missing_ok=True)
    else:
        logger.warning("%s", problem)


def _recover(note: Note, gpu: Gpu | None, path: Path) -> str | None:
    if note.boot_id != _boot_id():
        path.unlink()
        return None
    if gpu is None:
        return f"board {note.gpu_uuid} was limited to {note.set_w:.0f} W by a run that was killed, and does not answer"
    limits = gpu.power_limits()
    changed = limits is not None and abs(limits.set_w - note.set_w) < _SAME_W
    if (problem := _put_back(gpu, note)) is not None:
        return problem
    path.unlink()
    if not changed:
        return None
    return f"board {gpu.uuid} had been left at {note.set_w:.0f} W by a run that was killed; it is at {note.before_w:.0f} W again"


def _put_back(gpu: Gpu, note: Note) -> str | None:
    """Set the limit that was there before, if ours is still there; why it could not be, in a sentence, else None."""
    limits = gpu.power_limits()
    refused = "it does not answer" if limits is None else None
    if limits is not None and abs(limits.set_w - note.set_w) < _SAME_W:
        refused = gpu.set_power_limit_w(note.before_w)
    if refused is None:
        return None
    command = f"sudo nvidia-smi -i {gpu.index} -pl {note.before_w:.0f}"
    return f"board {gpu.uuid} is still limited to {note.set_w:.0f} W ({refused}); put it back with `{command}`"


def _in_force(gpu: Gpu, watts: float) -> float | None:
    """The limit that is in force once it is the one asked for, or after a few seconds."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        limits = gpu.power_limits()
        now_w = None if limits is None else limits.enforced_w
        if (now_w is not None and abs(now_w - watts) < _SAME_W) or time.monotonic() > deadline:
            return now_w
        time.sleep(0.02)


@contextlib.contextmanager
def _written(note: Note) -> Iterator[Path]:
    """The note on the disk, locked; OSError if it cannot be written. Who ends the block removes it, or leaves it."""
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError("it belongs to somebody else")
    path = folder / f"{_PREFIX}{note.gpu_uuid}.json"
    partial = folder / f".{path.name}.{os.getpid()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps(asdict(note)).encode())
        os.fsync(descriptor)
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            raise Unsupported("power-limit: another run has limited this board; wait until that has ended") from None
        finally:
            partial.unlink()
        _sync_folder(folder)
        yield path
    finally:
        os.close(descriptor)


def _notes(gpu_uuid: str | None) -> list[Path]:
    try:
        found = sorted(state_folder().glob(f"{_PREFIX}{gpu_uuid or '*'}.json"))
        return [path for path in found if path.stat().st_uid == os.geteuid()]
    except OSError:  # no such folder, or not ours to read
        return []


def _locked(path: Path) -> int | None:
    """A descriptor that holds the note's lock; None while its owner lives, or when it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
