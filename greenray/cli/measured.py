"""A measurement on a terminal: a table, and below it in words what the figures are and what they leave out."""

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.measure.command import Measurement

_WH_J = 3600.0
_ROOMY = 76  # columns; below that a row has no room for the board's name


def show_measurement(measurement: "Measurement", *, console: "Console") -> None:
    """Prints it; every line that wraps does so at words."""
    console.print()
    if measurement.error is not None:
        console.print(Text(f"greenray: {measurement.error}"))
    else:
        console.print(_table(measurement, narrow=console.width < _ROOMY))
    console.print(Text(_summary(measurement)))
    for line in [] if measurement.error is not None else _lines(measurement):
        item = Table.grid()
        item.add_row("- ", Text(line))
        console.print(item)


def _table(measurement: "Measurement", *, narrow: bool) -> Table:
    rows = _rows(measurement)
    decimals = _decimals([energy_j for _, _, energy_j, *_ in rows if energy_j is not None])
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=narrow)
    for name in ("energy", "average", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("grade", justify="center")
    for name, more, energy_j, error_j, source, grade in rows:
        mean_w = None if energy_j is None or measurement.duration_s <= 0 else energy_j / measurement.duration_s
        table.add_row(
            Text(name if narrow else f"{name} {more}".rstrip()),
            "unknown" if energy_j is None else f"{_figure(energy_j, decimals)} J",
            "" if mean_w is None else f"{mean_w:,.1f} W",
            "" if error_j is None else f"±{_figure(error_j, decimals)} J",
            source or "",
            grade or "",
        )
    return table


def _rows(measurement: "Measurement") -> list[tuple[str, str, float | None, float | None, str | None, str | None]]:
    """Name, what more there is room for, joules, their half-width, source and grade of each part."""
    gpus, cpu, dram, wall = measurement.gpus, measurement.cpu, measurement.dram, measurement.wall
    rows = [(_name(gpu), gpu["name"], gpu["energy_j"], gpu["error_j"], gpu["source"], gpu["grade"]) for gpu in gpus]
    rows.append(("CPU", "share of the command", cpu["energy_j"], cpu["error_j"], cpu["source"], cpu["grade"]))
    if cpu["host_energy_j"] is not None:
        rows.append(("CPU host", "in all", cpu["host_energy_j"], None, cpu["source"], None))
    if dram["source"] is not None:
        rows.append(("DRAM", "share of the command", dram["energy_j"], dram["error_j"], dram["source"], None))
    if wall["energy_j"] is not None:
        rows.append(("wall", "of the host in all", wall["energy_j"], wall["error_j"], wall.get("source"), None))
    summed = len(gpus) + 1 + (dram["source"] is not None)
    if summed > 1 or measurement.total_energy_j is None:
        rows.append(("total", _scope(measurement), measurement.total_energy_j, None, None, None))
    return rows


def _lines(measurement: "Measurement") -> list[str]:
    """What the figures are, in sentences."""
    gpus, cpu, dram = measurement.gpus, measurement.cpu, measurement.dram
    lines = []
    for gpu in gpus:
        lines += _why(_name(gpu), gpu)
    if above := [
        f"{_name(gpu)} {gpu['active_energy_j']:z,.2f} J (idle {gpu['idle_w']:.1f} W)"
        for gpu in gpus
        if gpu["active_energy_j"] is not None
    ]:
        lines.append(f"above idle power: {', '.join(above)}")
    lines += _why("CPU", cpu)
    if cpu["energy_j"] is not None:
        busy = f"others kept {cpu['neighbours_busy']:.1f} of {measurement.logical_cores} processors busy"
        lines.append(f"CPU share: the host's idle power, and the command's part by processor time of what is above it; {busy}")
    memory = f"memory ({dram['reason']}), " if dram["source"] is None else ""
    whole = "; boards count whole, whoever used them" if gpus else ""
    lines.append(f"left out: {memory}disks, network, fans, losses of the power supply{whole}")
    return lines + measurement.notes


def _summary(measurement: "Measurement") -> str:
    cpu_s = measurement.cpu["cpu_seconds"]
    parts = [f"{measurement.duration_s:.3f} s elapsed"]
    if measurement.error is None and cpu_s is not None:
        user_s, system_s = measurement.cpu_user_s, measurement.cpu_system_s
        parts.append(f"{cpu_s:.3f} s of processor time ({user_s:.3f} user, {system_s:.3f} system)")
    total_j = measurement.total_energy_j
    if total_j is not None and total_j >= _WH_J / 10:
        parts.append(f"{total_j / _WH_J:.4g} Wh in all")
    return ", ".join([*parts, f"exit code {measurement.exit_code}"])


def _why(name: str, part: dict[str, Any]) -> list[str]:
    if not part["reasons"]:
        return []
    grade = "unknown" if part["energy_j"] is None else f"grade {part['grade']}"
    return [f"{name}, {grade}: {'; '.join(part['reasons'])}"]


def _name(gpu: dict[str, Any]) -> str:
    return f"GPU {gpu['index']}"


def _scope(measurement: "Measurement") -> str:
    return measurement.energy_scope.upper().replace("+", " + ")


def _decimals(energies: list[float]) -> int:
    """Decimals for all of a column, three significant digits of its largest figure, two at least."""
    largest = max((abs(energy_j) for energy_j in energies), default=0.0)
    return 2 if largest <= 0 else min(6, max(2, 2 - math.floor(math.log10(largest))))


def _figure(value: float, decimals: int) -> str:
    """What would round to nothing is not nothing."""
    least = 10.0**-decimals
    return f"<{least:.{decimals}f}" if 0 < value < least / 2 else f"{value:z,.{decimals}f}"
