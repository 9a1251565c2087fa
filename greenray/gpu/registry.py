"""The vendors of GPUs that GreenRay knows, and every question that is put to all of them.

To add one: one line here; see `greenray.gpu.base`.
"""

import importlib
from collections.abc import Mapping
from typing import cast

from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu, Vendor

# key -> module; imported when a GPU is looked for, not before.
VENDORS: dict[str, str] = {
    "nvidia": "greenray.gpu.nvidia.vendor",
}


def vendors() -> dict[str, Vendor]:
    """All of them, by key."""
    return {key: cast(Vendor, importlib.import_module(module)) for key, module in VENDORS.items()}


def gpus() -> list[Gpu]:
    """Every GPU of this host that answers."""
    return [gpu for vendor in vendors().values() if vendor.start() is None for gpu in vendor.gpus()]


def boards() -> tuple[int, int]:
    """How many GPUs are seen here, and how many the host has: of those handed to other containers the bus still tells."""
    seen = len(gpus())
    return seen, max(seen, sum(vendor.on_bus() for vendor in vendors().values()))


def unreached() -> list[str]:
    """Of which GPUs that the host has no driver answers, and why: a clause for each vendor."""
    found = ((vendor.start(), vendor.on_bus()) for vendor in vendors().values())
    return [f"of the host's {count} GPU(s) none is used or measured: {problem}" for problem, count in found if problem and count]


def resolve(accelerator: str) -> Gpu:
    """The GPU that an accelerator id, as Ray or users give it, means: index, full or shortened UUID.

    Raises `MeasurementError`: no such GPU, more than one, or one that cannot be measured; the sentence says which.
    """
    problems: list[str] = []
    available: list[Gpu] = []
    for vendor in vendors().values():
        problem = vendor.start()
        if problem is not None:
            problems.append(problem)
            continue
        found = vendor.gpus()
        gpu = vendor.resolve(accelerator, found)
        if gpu is not None:
            return gpu
        available += found
    if len(problems) == len(VENDORS):
        raise MeasurementError(f"board {accelerator!r} cannot be measured: {'; '.join(problems)}")
    known = ", ".join(f"{gpu.index} = {gpu.uuid}" for gpu in available) or "none"
    raise MeasurementError(f"no board matches {accelerator!r}; there are: {known}")


def visible(environ: Mapping[str, str]) -> tuple[list[Gpu], list[str]]:
    """The GPUs that a process with this environment would use, and why they are fewer than one might think."""
    chosen: list[Gpu] = []
    absent: list[str] = []
    notes: list[str] = []
    for vendor in vendors().values():
        problem = vendor.start()
        if problem is not None:
            absent.append(f"no GPU is measured: {problem}")
            continue
        found = vendor.gpus()
        if silent := vendor.silent():
            notes.append(f"boards that do not answer and are left out: {silent} of {silent + len(found)}")
        try:
            picked = vendor.visible(environ, found)
        except MeasurementError as refused:
            notes.append(f"no GPU is measured: {refused}")
            continue
        if found and not picked:
            notes.append(f"no GPU is measured: {vendor.VISIBLE}={environ.get(vendor.VISIBLE, '')!r} leaves none")
        chosen += picked
    return chosen, notes if chosen else [*absent, *notes]


def environment_for(gpu: Gpu | None) -> dict[str, str]:
    """Variables that make one GPU of all vendors' visible to a process; none of any for None."""
    uuids = {} if gpu is None else {gpu.vendor: gpu.uuid}
    found = (vendor.environment_for(uuids.get(key)) for key, vendor in vendors().items())
    return {name: value for variables in found for name, value in variables.items()}


def preload_environment() -> dict[str, str | None]:
    """Variables of a process that imports libraries and must touch no GPU."""
    return {name: value for vendor in vendors().values() for name, value in vendor.PRELOAD_ENVIRONMENT.items()}


def device_prefixes() -> tuple[str, ...]:
    """How the names of GPUs' device files begin."""
    return tuple(vendor.DEVICE_PREFIX for vendor in vendors().values())
