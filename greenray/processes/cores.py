"""Processors by number: sets of them in words, and which of them are one physical core."""

from collections.abc import Collection, Iterator
from pathlib import Path


def as_text(cores: Collection[int]) -> str:
    """A set of processors as the kernel writes it: `0-15,64-79`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def of_text(text: str) -> Iterator[int]:
    """The processors of such a text. Raises ValueError."""
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def physical(cores: Collection[int], *, root: Path = Path("/")) -> list[tuple[int, ...]]:
    """The same processors, those of one physical core together; a core by itself where the kernel does not tell."""
    left, groups = set(cores), []
    for core in sorted(cores):
        if core not in left:
            continue
        try:
            text = (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
            group = {core} | left.intersection(of_text(text))
        except (OSError, ValueError):
            group = {core}
        left -= group
        groups.append(tuple(sorted(group)))
    return groups
