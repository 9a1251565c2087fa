"""What spoils or prevents measurements, and the command, mount or setting that mends it.

Facts come in, sentences go out: nothing here looks at the host.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from greenray.doctor.findings import GpuReport, Problem, Surroundings
from greenray.gpu.nvidia.sensor import SLOWDOWNS
from greenray.power.rapl import Survey

_BUSY_CORES = 0.25
_ZONES = "/sys/devices/virtual/powercap"  # /sys/class/powercap holds only links into it, which a mount would not follow
_MOUNTED = "/host/powercap"
_UDEV = (
    f'echo \'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -R a+r {_ZONES}"\''
    " | sudo tee /etc/udev/rules.d/70-powercap.rules"
)


def problems_of(around: Surroundings, *, gpus: Sequence[GpuReport], rapl: Survey, root: Path) -> list[Problem]:
    """Everything that is wrong, boards first."""
    return [
        *_driver(around),
        *(problem for gpu in gpus for problem in _board(gpu, around)),
        *_rapl(rapl, root, around),
        *_host(around),
    ]


def _driver(around: Surroundings) -> Iterator[Problem]:
    if around.silent_boards:
        yield Problem(
            part="GPU",
            what=f"Boards of this host that do not answer: {around.silent_boards}.",
            mend="The kernel's log says why (Xid); reset them or restart the host.",
            commands=["sudo dmesg | grep -i xid", "sudo nvidia-smi --gpu-reset"],
        )
    if around.nvml_problem is None:
        return
    boards = around.boards_on_bus
    seen = f"{boards} NVIDIA board(s) on the PCI bus" if boards else "no NVIDIA board on the PCI bus"
    what = f"No GPU can be measured: {around.nvml_problem}; there is {seen}."
    if not boards:
        yield Problem(
            part="GPU",
            what=what,
            mend="Without a board that is as it should be; with one, see whether the host and this container get to see it.",
            commands=["lspci -d 10de:", *_with_boards(around.container)],
        )
    elif around.container is None:
        yield Problem(
            part="GPU",
            what=what,
            mend="Install NVIDIA's driver, or load it.",
            commands=["sudo modprobe nvidia", "nvidia-smi"],
        )
    else:
        yield Problem(
            part="GPU",
            what=what,
            mend="Hand the boards in through the NVIDIA container toolkit, with its `utility` part, which is NVML.",
            commands=_with_boards(around.container),
        )


def _tool(container: str | None) -> str:
    return "podman" if container == "podman" else "docker"


def _with_boards(container: str | None) -> list[str]:
    if container is None:
        return []
    if container == "kubernetes":
        return ["resources: {limits: {nvidia.com/gpu: 1}}", "env: [{name: NVIDIA_DRIVER_CAPABILITIES, value: 'compute,utility'}]"]
    boards = "--device nvidia.com/gpu=all" if container == "podman" else "--gpus all"
    return [f"{_tool(container)} run {boards} --env NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."]


def _board(gpu: GpuReport, around: Surroundings) -> Iterator[Problem]:
    part, smi = f"GPU {gpu.index}", f"nvidia-smi -i {gpu.index}"

    def problem(what: str, mend: str, *commands: str) -> Problem:
        return Problem(part=part, what=f"{part} {what}", mend=mend, commands=list(commands))

    if gpu.mig:
        yield problem("is in MIG mode: energy is known per board only, so it is refused.", "Turn MIG off.", f"sudo {smi} -mig 0")
    elif gpu.counter_missing is not None:
        if "permission" in gpu.counter_missing:
            yield problem(
                f"keeps its energy counter to itself ({gpu.counter_missing}): energy is the integral of power, grade C at best.",
                "Measure as a user who may read it, or in a container that may.",
                "sudo greenray doctor",
            )
        else:
            yield problem(
                "has no readable energy counter: energy is the integral of power, grade C at best.",
                "Boards from Volta on have one: see what board and driver this is, and update the driver.",
                f"{smi} --query-gpu=name,driver_version --format=csv",
            )
    elif gpu.counter_period_s is None:
        yield problem(
            "has an energy counter that did not move while it was watched.", "Reset the board.", f"sudo {smi} --gpu-reset"
        )
    elif gpu.instant_power is None:
        yield problem(
            "does not tell its instant power, so its counter cannot be checked: grade B at best.",
            "Update the driver to 530 or later.",
            f"{smi} -q -d POWER",
        )
    if gpu.persistence is False:
        yield problem(
            "has persistence mode off: its driver may unload between cells, which resets the counter.",
            "Turn it on.",
            f"sudo {smi} -pm 1",
            "sudo systemctl enable --now nvidia-persistenced",
        )
    yield from _limits(gpu, smi=smi)
    if gpu.processes:
        yield problem(
            f"is used by other processes ({', '.join(map(str, gpu.processes))}): what they use counts as yours.",
            "End them, or leave the board out.",
            f"{smi} --query-compute-apps=pid,name,used_memory --format=csv",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=...",
        )
    elif not around.sees_all_processes and around.container is not None:
        yield problem(
            "may be used by processes that this container cannot see.",
            "Let the container see the host's processes.",
            "hostPID: true" if around.container == "kubernetes" else f"{_tool(around.container)} run --pid host ...",
        )


def _limits(gpu: GpuReport, *, smi: str) -> Iterator[Problem]:
    part = f"GPU {gpu.index}"
    limit_w, default_w = gpu.power_limit_w, gpu.default_power_limit_w
    if limit_w is not None and default_w is not None and limit_w < default_w - 0.5:
        yield Problem(
            part=part,
            what=f"{part} has its power limited to {limit_w:.0f} W, {default_w:.0f} W is its default.",
            mend="Set the default, unless you want to measure the limit.",
            commands=[f"sudo {smi} -pl {default_w:.0f}"],
        )
    events = set(gpu.clocks_limited_by or ())
    if "applications_clocks_setting" in events:
        yield Problem(
            part=part,
            what=f"{part} has its clocks held by a setting.",
            mend="Give them free, unless you want to measure at those clocks.",
            commands=[f"sudo {smi} --reset-applications-clocks", f"sudo {smi} --reset-gpu-clocks"],
        )
    if slowed := sorted(SLOWDOWNS & events):
        yield Problem(
            part=part,
            what=f"{part} is being slowed down just now ({', '.join(slowed)}), which costs a grade.",
            mend="Look at its cooling and its power supply.",
            commands=[f"{smi} -q -d PERFORMANCE,TEMPERATURE,POWER"],
        )


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


def _host(around: Surroundings) -> Iterator[Problem]:
    host = around.host
    if host.on_battery:
        yield Problem(
            part="host",
            what="The host runs on battery: clocks and power limits are not the usual ones.",
            mend="Plug it in.",
            commands=["cat /sys/class/power_supply/*/online"],
        )
    if host.virtual_machine:
        yield Problem(
            part="host",
            what="The host is a virtual machine: neighbours on the same hardware can change time and energy unseen.",
            mend="Prefer a bare host or a dedicated instance, or repeat, and trust pairs of measurements more than single ones.",
            commands=["rounds: 3"],
        )
    if host.usable_cores < host.physical_cores:
        cores = f"{host.usable_cores} of {host.physical_cores} cores"
        yield Problem(
            part="host",
            what=f"Only {cores} may be used here: being held back is measured as latency.",
            mend="Take the limit away, or know that it is part of what is measured.",
            commands={
                None: ["taskset --all-tasks --pid $$", "cat /sys/fs/cgroup/cpu.max"],
                "kubernetes": ["resources: {limits: {cpu: null}}"],
            }.get(around.container, [f"{_tool(around.container)} run ...   # without --cpus and --cpuset-cpus"]),
        )
    if around.clock_limit_mhz is not None:
        allowed, possible = around.clock_limit_mhz
        yield Problem(
            part="host",
            what=f"The processors' clock is limited to {allowed:.0f} of {possible:.0f} MHz.",
            mend="Lift the limit.",
            commands=[f"sudo cpupower frequency-set --max {possible:.0f}MHz"],
        )
    if around.niceness > 0:
        yield Problem(
            part="host",
            what=f"Ray's workers have low priority here (niceness {around.niceness}), and with them whatever is measured.",
            mend="Set this before Ray is started on the host.",
            commands=["export RAY_worker_niceness=0"],
        )
    busy = around.busy_cores
    if busy is not None and busy > max(_BUSY_CORES, 0.05 * host.logical_cores):
        yield Problem(
            part="host",
            what=f"Other processes keep {busy:.1f} of {host.logical_cores} processors busy.",
            mend="End them before measuring; their part of the processor's energy can only be estimated.",
            commands=["ps -eo pid,pcpu,comm --sort=-pcpu | head"],
        )
