"""Whose energy is it? The one rule by which a host's processor and memory energy is divided.

    cell = I * t / W + (E_host - I * t) * b_cell / b_host

Idle power I is split evenly between the host's W workers, busy or not; what is above it goes by processor seconds b. All cells'
figures, the idle parts of workers without a cell, and the rest of the host (what is above idle x the seconds that are nobody's
cell) add up to E_host, and a cell's figure does not change when a neighbour comes or goes: both to within `TOLERANCE` for windows
of 2 s and more. What limits it is the kernel's count of the host's seconds, whose step is 10 ms a processor.

That holds as far as a host draws the same power for every busy processor second. It does not quite: neighbours lower the clock,
share a core's units, or run heavier instructions, and such differences are spread over everybody by time. Hence grade B at best
on a shared host.
"""

from dataclasses import dataclass

from greenray.config.settings import CpuModel

TOLERANCE = 0.03
"""Share of its energy by which a figure may be off because of how seconds are counted; tested under real loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePower:
    """The host's idle power in watts: all processors together, and memory, None where it is not metered.

    `source` is rapl, modelled, or inferred (metered, but no idle interval was, see `inferred_idle`); `seconds` is the length of
    the interval, 0 when nothing was measured; `busy` are the processors that were busy in it all the same, None if unknown.
    """

    cpu_w: float
    dram_w: float | None = None
    source: str = "modelled"
    seconds: float = 0.0
    busy: float | None = None


def share_j(*, host_j: float, idle_w: float, duration_s: float, workers: int, cell_s: float, host_s: float) -> float:
    """The cell's part of `host_j` by the rule above.

    The kernel counts `host_s` coarsely and the cell's own `cell_s` finely, so their ratio is held below 1; idle energy is at most
    the energy there is.
    """
    idle_j = min(idle_w * duration_s, host_j)
    busy = max(host_s, cell_s)
    ratio = cell_s / busy if busy > 0 else 0.0
    return idle_j / workers + (host_j - idle_j) * ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreShare:
    """How many of a host's logical cores a model counts, for all the workers that share it.

    `by` is host (all of them), allotted (those that the container or process may use) or boards (the container's share of the
    host's GPUs): of a large host a pod with one GPU is not the only user.
    """

    cores: float
    by: str = "host"


def core_share(*, logical_cores: int, allotted: float, boards: tuple[int, int], workers: int) -> CoreShare:
    """See `CoreShare`.

    Args:
        logical_cores: the host's; `allotted` is how many of them this container or process may use.
        boards: GPUs that are seen here, and how many the host has.
        workers: W of the rule above, wherever on the host they are.
    """
    seen, on_bus = boards
    # A container has a worker for each of its boards; the others are in containers of their own, and have as much.
    containers = workers / min(workers, max(1, seen))
    if allotted < logical_cores:
        return CoreShare(cores=min(logical_cores, allotted * containers), by="allotted")
    if 0 < seen < on_bus:
        return CoreShare(cores=min(logical_cores, logical_cores * seen / on_bus * containers), by="boards")
    return CoreShare(cores=logical_cores)


def inferred_idle(model: CpuModel, *, host_j: float, dram_j: float | None, host_s: float, duration_s: float) -> IdlePower:
    """Idle power of a metered host whose idle power nobody has read: what its meter tells beyond the model's busy cores.

    So a cell alone gets all of the meter's energy but what its neighbours' seconds cost, and no assumed idle power is mixed with
    a real meter. Of memory nothing is known to be active.
    """
    busy_j = max(0.0, model.active_w_per_core - model.idle_w_per_core) * host_s
    duration_s = max(duration_s, 1e-9)
    dram_w = None if dram_j is None else dram_j / duration_s
    return IdlePower(cpu_w=max(0.0, host_j - busy_j) / duration_s, dram_w=dram_w, source="inferred")


def modelled_idle(model: CpuModel, *, logical_cores: float) -> IdlePower:
    """Idle power by the config's assumption."""
    return IdlePower(cpu_w=model.idle_w_per_core * logical_cores)


def modelled_host_j(model: CpuModel, *, logical_cores: float, host_s: float, duration_s: float) -> float:
    """Energy of a host without a meter: every core draws one assumed power when idle, another in its `host_s` busy seconds."""
    idle_w, active_w = model.idle_w_per_core, model.active_w_per_core
    return idle_w * logical_cores * duration_s + max(0.0, active_w - idle_w) * host_s
