"""Powercap trees as the kernel lays them out, in a temporary folder."""

import os
import subprocess
import sys
from pathlib import Path

RANGE_UJ = 262_143_328_850
INTEL = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0/intel-rapl:0:0": "core",
    "intel-rapl:0/intel-rapl:0:1": "uncore",
    "intel-rapl:0/intel-rapl:0:2": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:1/intel-rapl:1:0": "dram",
    "intel-rapl:2": "psys",
    "intel-rapl-mmio:0": "package-0",
}
AMD = {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "core"}


def make_tree(folder: Path, zones: dict[str, str], *, energy_uj: int = 1_000_000) -> Path:
    """Zones under their parents, and beside them links to all as in /sys/class/powercap; returns the root."""
    root = folder / "powercap"
    (root / "intel-rapl").mkdir(parents=True)
    for path, name in zones.items():
        zone = root / path
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{energy_uj}\n")
        (zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        if "/" in path:
            (root / zone.name).symlink_to(zone)
            (zone / "device").symlink_to(zone.parent)  # a loop, as in sysfs
    return root


def set_counter(zone: Path, energy_uj: int) -> None:
    """Moves a zone's counter in place and in one write, so that a reader sees the old value or the new one, as in sysfs."""
    descriptor = os.open(zone / "energy_uj", os.O_WRONLY)
    os.pwrite(descriptor, b"%020d\n" % energy_uj, 0)
    os.close(descriptor)


class LiveTree:
    """A tree whose counters follow the processors' real work: idle_w, and active_w for each busy processor, as a host draws them.

    A process of its own writes it, every 5 ms, from /proc/stat: whatever anybody computes on this host is in it. The packages
    share the energy evenly, every dram zone draws a tenth of a package beside it. `wrap_j` is where each counter wraps.
    """

    def __init__(self, root: Path, *, idle_w: float, active_w: float, wrap_j: float = RANGE_UJ * 1e-6) -> None:
        self.root, self.idle_w, self.active_w, self.wrap_j = root, idle_w, active_w, wrap_j

    def __enter__(self) -> "LiveTree":
        for file in self.root.rglob("max_energy_range_uj"):
            file.write_text(f"{round(self.wrap_j * 1e6)}\n")
        command = [sys.executable, "-S", "-c", WRITER, self.root, self.idle_w, self.active_w, round(self.wrap_j * 1e6)]
        self._writer = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._writer.stdout is not None
        assert self._writer.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.communicate(timeout=10)  # the end of its input is its end

    def true_j(self, *, duration_s: float, busy_s: float) -> float:
        """Energy of all packages for so many processor seconds of the whole host."""
        return self.idle_w * duration_s + self.active_w * busy_s


# As `set_counter`, over and over.
WRITER = """
import os, select, sys, time
root, idle_w, active_w, wrap_uj = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
zones = {"package": [], "dram": []}
for folder, _, files in os.walk(root):
    if "energy_uj" in files and "mmio" not in folder:
        kind = open(f"{folder}/name").read().split("-")[0].strip()
        if kind in zones:
            zones[kind].append(os.open(f"{folder}/energy_uj", os.O_WRONLY))
stat = os.open("/proc/stat", os.O_RDONLY)
tick_s = 1 / os.sysconf("SC_CLK_TCK")
packages = max(1, len(zones["package"]))
written = False
while True:
    user, nice, system, _, _, irq, softirq = map(int, os.pread(stat, 256, 0).split(b"\\n", 1)[0].split()[1:8])
    busy_s = (user + nice + system + irq + softirq) * tick_s
    uj = 1e6 * (idle_w * time.monotonic() + active_w * busy_s) / packages
    for kind, files in zones.items():
        value = int(uj * (1.0 if kind == "package" else 0.1)) % wrap_uj
        for file in files:
            if os.fstat(file).st_size:  # what was emptied stays so
                os.pwrite(file, b"%020d\\n" % value, 0)
    if not written:
        print("ready", flush=True)
        written = True
    if select.select([sys.stdin], [], [], 0.005)[0]:
        break
"""
