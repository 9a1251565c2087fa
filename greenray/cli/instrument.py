"""`greenray measure` and `greenray doctor`: the instrument without a sweep."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenray.errors import ConfigError, MeasurementError

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.power.measure import Measurement


def register(app: typer.Typer) -> None:
    app.command(context_settings={"allow_interspersed_args": False})(measure)
    app.command()(doctor)


def measure(
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="The command and its arguments.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    hz: Annotated[float, typer.Option(min=1, max=1000, help="Sampling rate.")] = 50.0,
    idle: Annotated[float | None, typer.Option(min=0.1, max=3600, help="Measure this many idle seconds first.")] = None,
) -> None:
    """Energy of any command, like `time`: a table on stderr; the command's exit code is passed through."""
    from greenray.cli.console import console as make_console
    from greenray.power.measure import measure_command

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no folder {json_file.parent}.")
    try:
        measurement = measure_command(command, hz=hz, idle_s=idle)
    except MeasurementError as error:
        raise ConfigError(f"cannot measure: {error}") from None
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(measurement.as_json(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"greenray: --json {json_file}: cannot be written ({error.strerror}).", file=sys.stderr)  # noqa: T201
    _show_measurement(measurement, console=make_console(stderr=True))
    sys.exit(measurement.exit_code)


def doctor(
    address: Annotated[str | None, typer.Option(help="Look at every host of this Ray cluster, e.g. auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain data on stdout.")] = False,
) -> None:
    """What each host can measure and how well, what is wrong, and how to mend it."""
    from greenray.cli.console import console as make_console

    reports = _cluster_reports(address) if address is not None else [_local_report()]
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
        return
    console = make_console()
    for report in reports:
        _show_host(report, console=console)


def _local_report() -> dict[str, Any]:
    from greenray.power.doctor import examine

    return examine().as_json()


def _cluster_reports(address: str) -> list[dict[str, Any]]:
    from greenray.cli.progress import terminal_kept
    from greenray.sweep.cluster import connected, on_every_host

    with terminal_kept(Path("/dev/null")), connected(address) as ray:
        return on_every_host(ray, _local_report, timeout_s=60.0)


def _show_measurement(measurement: "Measurement", *, console: "Console") -> None:
    from rich.table import Table

    if measurement.error is not None:
        console.print(f"greenray: {measurement.error}", markup=False, highlight=False, soft_wrap=True)
    grid = Table("", "energy", "mean power", "error", "source", "grade", "", box=None, header_style="bold", pad_edge=False)
    for gpu in measurement.gpus:
        error = f"+-{gpu['error_j']:.2f} J" if gpu["error_j"] is not None else ""
        reasons = ", ".join(gpu["reasons"])
        grid.add_row(
            gpu["name"], *_energy(gpu["energy_j"], measurement), error, gpu["source"] or "-", gpu["grade"] or "-", reasons
        )
    for name, part in (("CPU", measurement.cpu), ("DRAM", measurement.dram)):
        if part["energy_j"] is not None or name == "CPU":
            reason = part.get("reason") or ", ".join(part.get("reasons") or [])
            grid.add_row(
                name, *_energy(part["energy_j"], measurement), "", part["source"] or "-", part.get("grade") or "", reason
            )
    console.print(grid, markup=False, highlight=False)
    console.print(f"{measurement.duration_s:.3f} s, exit code {measurement.exit_code}", highlight=False)
    for note in measurement.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _energy(energy_j: float | None, measurement: "Measurement") -> tuple[str, str]:
    if energy_j is None:
        return "unknown", ""
    mean_w = f"{energy_j / measurement.duration_s:.1f} W" if measurement.duration_s > 0 else ""
    return f"{energy_j:.2f} J", mean_w


def _show_host(report: dict[str, Any], *, console: "Console") -> None:
    from rich.table import Table

    host = report["host"]
    memory = host["memory_bytes"] / 2**30
    console.print(
        f"{host['hostname']}: {host['cpu_name']}, {host['physical_cores']} cores, {memory:.0f} GiB", highlight=False, style="bold"
    )
    domains = ", ".join(report["rapl"]["domains"])
    source = f"RAPL ({domains})" if report["cpu_source"] == "rapl" else "modelled from CPU time, grade D at best"
    console.print(f"  CPU energy: {source}", highlight=False)
    if report["gpus"]:
        grid = Table("", "GPU", "UUID", "driver", "energy from", "counter period", "grade at best", box=None, header_style="bold")
        for gpu in report["gpus"]:
            period = f"{gpu['counter_period_s'] * 1000:.1f} ms" if gpu["counter_period_s"] else "-"
            cells = [gpu["name"], gpu["uuid"], gpu["driver_version"], gpu["source"] or "-", period, gpu["best_grade"] or "-"]
            grid.add_row(str(gpu["index"]), *cells)
        console.print(grid, markup=False, highlight=False)
    else:
        console.print(f"  no GPU: {report['nvml_problem'] or 'NVML finds none'}", highlight=False)
    for problem in report["problems"]:
        console.print(f"  - {problem['what']} {problem['mend']}", markup=False, highlight=False, soft_wrap=True)
