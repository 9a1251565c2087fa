"""What spoils or prevents measurements of NVIDIA's GPUs, and the command or setting that mends it. Facts in, sentences out."""

from collections.abc import Iterator, Mapping
from typing import Any

from greenray.gpu.base import SLOWDOWNS, Problem, VendorReport


def problems(found: VendorReport, *, container: str | None, sees_all_processes: bool) -> Iterator[Problem]:
    """See `greenray.gpu.base.Vendor`."""
    if found.silent:
        yield Problem(
            part="GPU",
            what=f"Boards of this host that do not answer: {found.silent}.",
            mend="The kernel's log says why (Xid); reset them or restart the host.",
            commands=["sudo dmesg | grep -i xid", "sudo nvidia-smi --gpu-reset"],
        )
    if found.problem is not None:
        yield _no_driver(found, container=container)
    for gpu in found.gpus:
        hidden = not sees_all_processes and container is not None
        yield from (
            Problem(part=f"GPU {gpu['index']}", what=f"GPU {gpu['index']} {what}", mend=mend, commands=commands)
            for what, mend, *commands in (*_settings(gpu), *_users(gpu, container=container, hidden=hidden))
        )


def _no_driver(found: VendorReport, *, container: str | None) -> Problem:
    if not found.on_bus:
        seen = "no NVIDIA board on the PCI bus"
        mend = "Without a board that is as it should be; with one, see whether the host and this container get to see it."
        commands = ["lspci -d 10de:", *_with_boards(container)]
    else:
        seen = f"{found.on_bus} NVIDIA board(s) on the PCI bus"
        mend = "Install NVIDIA's driver, or load it."
        commands = ["sudo modprobe nvidia", "nvidia-smi"]
        if container is not None:
            mend = "Hand the boards in through the NVIDIA container toolkit, with its `utility` part, which is NVML."
            commands = _with_boards(container)
    what = f"No GPU can be measured: {found.problem}; there is {seen}."
    return Problem(part="GPU", what=what, mend=mend, commands=commands)


def _with_boards(container: str | None) -> list[str]:
    if container is None:
        return []
    if container == "kubernetes":
        return ["resources: {limits: {nvidia.com/gpu: 1}}", "env: [{name: NVIDIA_DRIVER_CAPABILITIES, value: 'compute,utility'}]"]
    run = "podman run --device nvidia.com/gpu=all" if container == "podman" else "docker run --gpus all"
    return [f"{run} --env NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."]


def _settings(gpu: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    smi = f"nvidia-smi -i {gpu['index']}"
    if gpu.get("mig"):
        yield "is in MIG mode: energy is known per board only, so it is refused.", "Turn MIG off.", f"sudo {smi} -mig 0"
    elif gpu["counter_missing"] is not None and "permission" in gpu["counter_missing"]:
        yield (
            f"keeps its energy counter to itself ({gpu['counter_missing']}): energy is the integral of power, grade C at best.",
            "Measure as a user who may read it, or in a container that may.",
            "sudo greenray doctor",
        )
    elif gpu["counter_missing"] is not None:
        yield (
            "has no readable energy counter: energy is the integral of power, grade C at best.",
            "Boards from Volta on have one: see what board and driver this is, and update the driver.",
            f"{smi} --query-gpu=name,driver_version --format=csv",
        )
    elif gpu["counter_period_s"] is None:
        yield "has an energy counter that did not move while it was watched.", "Reset the board.", f"sudo {smi} --gpu-reset"
    elif gpu["instant_power"] is None:
        yield (
            "does not tell its instant power, so its counter cannot be checked: grade B at best.",
            "Update the driver to 530 or later.",
            f"{smi} -q -d POWER",
        )
    if gpu.get("persistence") is False:
        yield (
            "has persistence mode off: its driver may unload between cells, which resets the counter.",
            "Turn it on.",
            f"sudo {smi} -pm 1",
            "sudo systemctl enable --now nvidia-persistenced",
        )
    limit_w, default_w = gpu["power_limit_w"], gpu.get("default_power_limit_w")
    if limit_w is not None and isinstance(default_w, float) and limit_w < default_w - 0.5:
        yield (
            f"has its power limited to {limit_w:.0f} W, {default_w:.0f} W is its default.",
            "Set the default, unless you want to measure the limit.",
            f"sudo {smi} -pl {default_w:.0f}",
        )
    events = set(gpu["clocks_limited_by"] or ())
    if "applications_clocks_setting" in events:
        yield (
            "has its clocks held by a setting.",
            "Give them free, unless you want to measure at those clocks.",
            f"sudo {smi} --reset-applications-clocks",
            f"sudo {smi} --reset-gpu-clocks",
        )
    if slowed := sorted(events.intersection(SLOWDOWNS)):
        yield (
            f"is being slowed down just now ({', '.join(slowed)}), which costs a grade.",
            "Look at its cooling and its power supply.",
            f"{smi} -q -d PERFORMANCE,TEMPERATURE,POWER",
        )


def _users(gpu: Mapping[str, Any], *, container: str | None, hidden: bool) -> Iterator[tuple[str, ...]]:
    if gpu["processes"]:
        yield (
            f"is used by other processes ({', '.join(map(str, gpu['processes']))}): what they use counts as yours.",
            "End them, or leave the board out.",
            f"nvidia-smi -i {gpu['index']} --query-compute-apps=pid,name,used_memory --format=csv",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=...",
        )
    elif hidden:
        tool = "podman" if container == "podman" else "docker"
        yield (
            "may be used by processes that this container cannot see.",
            "Let the container see the host's processes.",
            "hostPID: true" if container == "kubernetes" else f"{tool} run --pid host ...",
        )
