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

    `source` is rapl, modelled, or assumed (metered, but no idle interval was: `cpu_w` is then the config's figure); `seconds` is
    the length of the interval, 0 when nothing was measured.
    """

    cpu_w: float
    dram_w: float | None = None
    source: str = "modelled"
    seconds: float = 0.0


def share_j(*, host_j: float, idle_w: float, duration_s: float, workers: int, cell_s: float, host_s: float) -> float:
    """The cell's part of `host_j` by the rule above.

    The kernel counts `host_s` coarsely and the cell's own `cell_s` finely, so their ratio is held below 1; idle energy is at most
    the energy there is.
    """
    idle_j = min(idle_w * duration_s, host_j)
    busy = max(host_s, cell_s)
    ratio = cell_s / busy if busy > 0 else 0.0
    return idle_j / workers + (host_j - idle_j) * ratio


def modelled_idle(model: CpuModel, *, logical_cores: int) -> IdlePower:
    """Idle power by the config's assumption."""
    return IdlePower(cpu_w=model.idle_w_per_core * logical_cores)


def modelled_host_j(model: CpuModel, *, logical_cores: int, host_s: float, duration_s: float) -> float:
    """Energy of a host without a meter: every core draws one assumed power when idle, another in its `host_s` busy seconds."""
    idle_w, active_w = model.idle_w_per_core, model.active_w_per_core
    return idle_w * logical_cores * duration_s + max(0.0, active_w - idle_w) * host_s
