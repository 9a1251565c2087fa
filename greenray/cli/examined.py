"""What was found out about a host, on a terminal: its parts with source and grade, then what to mend and how."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

_PLACES = {"kubernetes": "a Kubernetes pod", "docker": "a Docker container", "podman": "a Podman container"}


def show_host(report: dict[str, Any], *, console: "Console") -> None:
    """Prints one host's report, as `greenray.doctor.examine` gives it; `error` says why there is none."""
    host = report["host"]
    if report["error"] is not None:
        console.print(Text.assemble((str(host["hostname"]), "bold"), f": {report['error']}"))
        console.print()
        return
    console.print(Text.assemble((str(host["hostname"]), "bold"), f": {_what(report)}"))
    console.print()
    console.print(_parts(report))
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


def _what(report: dict[str, Any]) -> str:
    host = report["host"]
    cores = host["physical_cores"]
    parts = [str(host["cpu_name"]), f"{cores} core{'s' if cores > 1 else ''}", f"{host['memory_bytes'] / 2**30:.0f} GiB"]
    if report["container"] is not None:
        parts.append(_PLACES.get(report["container"], "a container"))
    if host["virtual_machine"]:
        parts.append("a virtual machine")
    return ", ".join(parts)


def _parts(report: dict[str, Any]) -> Table:
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
    period_s, jitter_s = gpu["counter_period_s"], gpu["counter_jitter_s"]
    if gpu["source"] == "counter":
        moves = (
            "that does not move" if period_s is None else f"every {1000 * period_s:.1f} ms (±{1000 * (jitter_s or 0.0):.2f} ms)"
        )
        return f"energy counter {moves}, {instant.get(gpu['instant_power'], 'unchecked')}"
    if gpu["source"] == "power":
        return "integral of instant power" if gpu["instant_power"] else "integral of power averaged over 1 s"
    return "nothing"
