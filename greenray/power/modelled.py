"""Processor energy where there is no meter: two assumed powers for every logical core, and the processor seconds."""

from greenray.config.settings import CpuModel
from greenray.power.sharing import IdlePower


def modelled_idle(model: CpuModel, *, logical_cores: int) -> IdlePower:
    """Idle power by the config's assumption."""
    return IdlePower(cpu_w=model.idle_w_per_core * logical_cores)


def modelled_host_j(model: CpuModel, *, logical_cores: int, host_s: float, duration_s: float) -> float:
    """Energy of a host without a meter, joules.

    Every core draws the one power when idle and the other when busy; `host_s` are the host's busy processor seconds.
    """
    idle_w, active_w = model.idle_w_per_core, model.active_w_per_core
    return idle_w * logical_cores * duration_s + max(0.0, active_w - idle_w) * host_s
