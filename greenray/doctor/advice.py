"""What spoils or prevents measurements, and the command, mount or setting that mends it.

Facts come in, sentences go out: nothing here looks at the host.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greenray.gpu.base import Problem
from greenray.power.host import HostInfo
from greenray.power.rapl import Survey

_BUSY_CORES = 0.25
_ZONES = "/sys/devices/virtual/powercap"  # /sys/class/powercap holds only links into it, which a mount would not follow
_MOUNTED = "/host/powercap"
_UDEV = (
    f'echo \'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -R a+r {_ZONES}"\''
    " | sudo tee /etc/udev/rules.d/70-powercap.rules"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What stands around the meters; `container` and `clock_limit_mhz` as `greenray.power.host` tells them."""

    host: HostInfo
    container: str | None = None
    busy_cores: float | None = None
    clock_limit_mhz: tuple[float, float] | None = None
    niceness: int = 0


def problems_of(around: Surroundings, *, rapl: Survey, root: Path) -> list[Problem]:
    """Everything that is wrong with the host; what is wrong with GPUs their vendors know."""
    return [
        *_rapl(rapl, root, around),
        *(Problem(part="host", what=what, mend=mend, commands=list(commands)) for what, mend, *commands in _host(around)),
    ]


def _tool(container: str | None) -> str:
    return "podman" if container == "podman" else "docker"


def _rapl(found: Survey, root: Path, around: Surroundings) -> Iterator[Problem]:
    if found.problem is None:
        return
    readable, place = f"sudo chmod -R a+r {_ZONES}", around.container
    mount = f"--volume {_ZONES}:{_MOUNTED}:ro --env GREENRAY_POWERCAP_ROOT={_MOUNTED}"
    if "permission" in found.problem:
        # What is mounted is made readable where it comes from.
        own = not str(root).startswith(("/sys/", _MOUNTED))
        where = "" if place is None else "on the host, "
        mend = f"Let everybody read the counters, {where}now and after every boot (they let others guess at what is computed)."
        commands = [f"sudo chmod -R a+r {root}" if own else readable, _UDEV]
    elif around.host.virtual_machine:
        mend = "A virtual machine has RAPL only where its hypervisor hands it on; else state what a core draws, in the config."
        commands = [
            "sudo modprobe intel_rapl_msr",
            "qemu-system-x86_64 -accel kvm,rapl=true,rapl-helper-socket=/run/qemu-vmsr-helper.sock ...",
            "host: {cpu_model: {idle_w_per_core: 1.5, active_w_per_core: 6}}",
        ]
    elif place == "kubernetes":
        mend = "Take the component k8s/components/rapl of this project into your overlay, and make the node's counters readable."
        commands = ["components: [../../components/rapl]", f"{readable}   # on the node"]
    elif place is not None:
        mend = "Make the counters readable on the host, and mount them."
        commands = [f"{readable}   # on the host", f"{_tool(place)} run {mount} ..."]
    else:
        mend = "Load the kernel's module (it serves AMD too), and let everybody read its counters."
        commands = ["sudo modprobe intel_rapl_msr", readable]
    problem = f"{found.problem[:1].upper()}{found.problem[1:]}"
    yield Problem(
        part="CPU", what=f"{problem}: processor energy is modelled from CPU time (grade D).", mend=mend, commands=commands
    )


def _host(around: Surroundings) -> Iterator[tuple[str, ...]]:
    host = around.host
    if host.on_battery:
        yield (
            "The host runs on battery: clocks and power limits are not the usual ones.",
            "Plug it in.",
            "cat /sys/class/power_supply/*/online",
        )
    if host.virtual_machine:
        yield (
            "The host is a virtual machine: neighbours on the same hardware can change time and energy unseen.",
            "Prefer a bare host or a dedicated instance, or repeat, and trust pairs of measurements more than single ones.",
            "rounds: {min: 5, max: 12}",
        )
    if host.usable_cores < host.physical_cores:
        lift = {
            None: ("taskset --all-tasks --pid $$", "cat /sys/fs/cgroup/cpu.max"),
            "kubernetes": ("resources: {limits: {cpu: null}}",),
        }
        yield (
            f"Only {host.usable_cores} of {host.physical_cores} cores may be used here: being held back is measured as latency.",
            "Take the limit away, or know that it is part of what is measured.",
            *lift.get(around.container, (f"{_tool(around.container)} run ...   # without --cpus and --cpuset-cpus",)),
        )
    if around.clock_limit_mhz is not None:
        allowed, possible = around.clock_limit_mhz
        yield (
            f"The processors' clock is limited to {allowed:.0f} of {possible:.0f} MHz.",
            "Lift the limit.",
            f"sudo cpupower frequency-set --max {possible:.0f}MHz",
        )
    if around.niceness > 0:
        yield (
            f"Ray's workers have low priority here (niceness {around.niceness}), and with them whatever is measured.",
            "Set this before Ray is started on the host.",
            "export RAY_worker_niceness=0",
        )
    busy = around.busy_cores
    if busy is not None and busy > max(_BUSY_CORES, 0.05 * host.logical_cores):
        yield (
            f"Other processes keep {busy:.1f} of {host.logical_cores} processors busy.",
            "End them before measuring; their part of the processor's energy can only be estimated.",
            "ps -eo pid,pcpu,comm --sort=-pcpu | head",
        )
