"""Powercap trees as the kernel lays them out, in a temporary folder."""

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
