"""The instrument's answers on a terminal.

A measurement: a table, and below it in words what the figures are and what they leave out. What was found out about a host: its
parts with source and grade, then what to mend and how.
"""

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

_WH_J = 3600.0
_PLACES = {"kubernetes": "a Kubernetes pod", "docker": "a Docker container", "podman": "a Podman container"}
_ROOMY = 76  # columns; below that a row has no room for the board's name


def show_measurement(measurement: dict[str, Any], *, console: "Console") -> None:
    """Prints what `measure_command` gave; every line that wraps does so at words."""
    console.print()
    if measurement["error"] is not None:
        console.print(Text(f"greenray: {measurement['error']}"))
    else:
        console.print(_table(measurement, narrow=console.width < _ROOMY))
    console.print(Text(_summary(measurement)))
    for line in [] if measurement["error"] is not None else _lines(measurement):
        item = Table.grid()
        item.add_row("- ", Text(line))
        console.print(item)


def _table(measurement: dict[str, Any], *, narrow: bool) -> Table:
    rows, duration_s = _rows(measurement), measurement["duration_s"]
    decimals = _decimals([part["energy_j"] for _, _, part in rows if part["energy_j"] is not None])
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=narrow)
    for name in ("energy", "average", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("grade", justify="center")
    for name, more, part in rows:
        energy_j, error_j = part["energy_j"], part.get("error_j")
        table.add_row(
            Text(name if narrow else f"{name} {more}".rstrip()),
            "unknown" if energy_j is None else f"{_figure(energy_j, decimals)} J",
            "" if energy_j is None or duration_s <= 0 else f"{energy_j / duration_s:,.1f} W",
            "" if error_j is None else f"±{_figure(error_j, decimals)} J",
            part.get("source") or "",
            part.get("grade") or "",
        )
    return table


def _rows(measurement: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, what more there is room for, and the entry of each part."""
    gpus, cpu, dram, total_j = measurement["gpus"], measurement["cpu"], measurement["dram"], measurement["total_energy_j"]
    rows = [(_name(gpu), gpu["name"], gpu) for gpu in gpus]
    rows.append(("CPU", "share of the command", cpu))
    if cpu["host_energy_j"] is not None:
        rows.append(("CPU host", "in all", {"energy_j": cpu["host_energy_j"], "source": cpu["source"]}))
    if dram["source"] is not None:
        rows.append(("DRAM", "share of the command", dram))
    if measurement["wall"]["energy_j"] is not None:
        rows.append(("wall", "of the host in all", measurement["wall"]))
    if gpus or dram["source"] is not None or total_j is None:
        rows.append(("total", measurement["energy_scope"].upper().replace("+", " + "), {"energy_j": total_j}))
    return rows


def _lines(measurement: dict[str, Any]) -> list[str]:
    """What the figures are, in sentences."""
    gpus, cpu, dram = measurement["gpus"], measurement["cpu"], measurement["dram"]
    lines = [line for gpu in gpus for line in _why(_name(gpu), gpu)]
    if above := [
        f"{_name(gpu)} {gpu['active_energy_j']:z,.2f} J (idle {gpu['idle_w']:.1f} W)"
        for gpu in gpus
        if gpu["active_energy_j"] is not None
    ]:
        lines.append(f"above idle power: {', '.join(above)}")
    lines += _why("CPU", cpu)
    if cpu["energy_j"] is not None:
        busy = f"others kept {cpu['neighbours_busy']:.1f} of {measurement['logical_cores']} processors busy"
        lines.append(f"CPU share: the host's idle power, and the command's part by processor time of what is above it; {busy}")
    memory = f"memory ({dram['reason']}), " if dram["source"] is None else ""
    whole = "; boards count whole, whoever used them" if gpus else ""
    lines.append(f"left out: {memory}disks, network, fans, losses of the power supply{whole}")
    return [*lines, *measurement["notes"]]


def _summary(measurement: dict[str, Any]) -> str:
    cpu_s = measurement["cpu"]["cpu_seconds"]
    parts = [f"{measurement['duration_s']:.3f} s elapsed"]
    if measurement["error"] is None and cpu_s is not None:
        user_s, system_s = measurement["cpu_user_s"], measurement["cpu_system_s"]
        parts.append(f"{cpu_s:.3f} s of processor time ({user_s:.3f} user, {system_s:.3f} system)")
    total_j = measurement["total_energy_j"]
    if total_j is not None and total_j >= _WH_J / 10:
        parts.append(f"{total_j / _WH_J:.4g} Wh in all")
    return ", ".join([*parts, f"exit code {measurement['exit_code']}"])


def _why(name: str, part: dict[str, Any]) -> list[str]:
    if not part["reasons"]:
        return []
    grade = "unknown" if part["energy_j"] is None else f"grade {part['grade']}"
    return [f"{name}, {grade}: {'; '.join(part['reasons'])}"]


def _name(gpu: dict[str, Any]) -> str:
    return f"GPU {gpu['index']}"


def _decimals(energies: list[float]) -> int:
    """Decimals for all of a column, three significant digits of its largest figure, two at least."""
    largest = max((abs(energy_j) for energy_j in energies), default=0.0)
    return 2 if largest <= 0 else min(6, max(2, 2 - math.floor(math.log10(largest))))


def _figure(value: float, decimals: int) -> str:
    """What would round to nothing is not nothing."""
    least = 10.0**-decimals
    return f"<{least:.{decimals}f}" if 0 < value < least / 2 else f"{value:z,.{decimals}f}"


def show_host(report: dict[str, Any], *, console: "Console") -> None:
    """Prints one host's report, as `greenray.doctor.examine` gives it; `error` says why there is none."""
    host = report["host"]
    if report["error"] is not None:
        console.print(Text.assemble((str(host["hostname"]), "bold"), f": {report['error']}"))
        console.print()
        return
    console.print(Text.assemble((str(host["hostname"]), "bold"), f": {_host_words(report)}"))
    console.print()
    console.print(_host_table(report))
    for sentence in report["restored"]:
        console.print(Text(f"\n{sentence}."))
    for number, problem in enumerate(report["problems"], 1):
        if number == 1:
            console.print(Text("\nTo mend:", style="bold"))
        sentence = Table.grid(padding=(0, 1, 0, 0))
        sentence.add_row(f"{number}.", Text(f"{problem['what']} {problem['mend']}"))
        console.print(sentence)
        for command in problem["commands"]:
            # Never broken into lines: it is there to be copied.
            console.print(Text(f"     {command}", style="cyan"), soft_wrap=True)
    console.print()


def _host_words(report: dict[str, Any]) -> str:
    host = report["host"]
    cores = host["physical_cores"]
    parts = [str(host["cpu_name"]), f"{cores} core{'s' if cores > 1 else ''}", f"{host['memory_bytes'] / 2**30:.0f} GiB"]
    if report["container"] is not None:
        parts.append(_PLACES.get(report["container"], "a container"))
    if host["virtual_machine"]:
        parts.append("a virtual machine")
    return ", ".join(parts)


def _host_table(report: dict[str, Any]) -> Table:
    """A row for each part: its name, the best grade, and by what it is measured."""
    table = Table("part", "grade", "measured by", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = table.columns[1].no_wrap = True

    def add(name: str, part: dict[str, Any], lines: list[str]) -> None:
        if part["reasons"]:
            lines.append(f"{'not better' if part['source'] else 'why'}: {'; '.join(part['reasons'])}")
        table.add_row(name, part["best_grade"] or "-", Text("\n".join(lines)))

    for gpu in report["gpus"]:
        add(f"GPU {gpu['index']}", gpu, [_gpu_source(gpu), f"{gpu['name']}, driver {gpu['driver_version']}", gpu["uuid"]])
    if not report["gpus"]:
        table.add_row("GPU", "-", Text(f"nothing\nwhy: {report['gpu_problem'] or 'the driver finds none'}"))
    domains = report["rapl"]["domains"]
    for name, zone in (("CPU", "package"), ("DRAM", "dram"), ("wall", None)):
        part = report[name.lower()]
        zones = [domain for domain in domains if zone is not None and domain.startswith(zone)]
        known = {"rapl": f"RAPL: {', '.join(zones)}", "modelled": "a model of processor time"}
        add(name, part, [known.get(part["source"], "nothing")])
    return table


def _gpu_source(gpu: dict[str, Any]) -> str:
    instant = {"gpu": "checked by instant power", "module": "checked by the instant power of the whole module"}
    period_s, jitter_s = gpu["counter_period_s"], gpu["counter_jitter_s"] or 0.0
    if gpu["source"] == "counter":
        moves = "that does not move" if period_s is None else f"every {1000 * period_s:.1f} ms (±{1000 * jitter_s:.2f} ms)"
        return f"energy counter {moves}, {instant.get(gpu['instant_power'], 'unchecked')}"
    if gpu["source"] == "power":
        return "integral of instant power" if gpu["instant_power"] else "integral of power averaged over 1 s"
    return "nothing"
