"""`greenray status`, `greenray schema` and `greenray tactics`: what there is."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    for command in (status, schema, tactics):
        app.command()(command)


def status(out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")]) -> None:
    """How far a sweep is, running or not, and what went wrong."""
    import polars as pl
    from rich.table import Table

    from greenray.cli.console import console as make_console
    from greenray.store import layout, reader

    folder = layout.local_path(out)
    console = make_console()
    for name, manifest in reader.manifests(folder).items():
        rows = (
            reader.settled(folder, sweep=name)
            .select("cell_id", "status", "bracket", "model", "tactic", "device", "error")
            .collect()
        )
        declared = {cell["cell_id"] for cell in manifest["cells"]}
        done = rows.filter(pl.col("cell_id").is_in(list(declared)))
        counts = ", ".join(f"{n} {s}" for s, n in done["status"].value_counts(sort=True).iter_rows()) or "none settled"
        held = "running" if layout.is_held(folder) else "not running"
        console.print(f"{name}: {done.height} of {len(declared)} cells settled ({counts}); {held}", highlight=False)
        bad = rows.filter(pl.col("status") != "ok").sort("model", "tactic")
        if bad.height:
            grid = Table(
                "status", "model", "tactic", "device", "cell", "what happened", box=None, header_style="bold", pad_edge=False
            )
            for row in bad.iter_rows(named=True):
                grid.add_row(row["status"], row["model"], row["tactic"], row["device"], row["cell_id"], row["error"] or "")
            console.print(grid, markup=False)


def schema() -> None:
    """The data dictionary: every column of the store with type, unit and meaning."""
    from rich.table import Table

    from greenray.cli.console import console as make_console
    from greenray.store.schema import SCHEMA_VERSION, dictionary

    console = make_console()
    grid = Table("table", "column", "type", "unit", "meaning", box=None, header_style="bold", pad_edge=False)
    for row in dictionary():
        grid.add_row(row["table"], row["column"], row["type"], row["unit"], row["meaning"])
    console.print(grid, markup=False)
    console.print(f"\nschema version {SCHEMA_VERSION}; sweep and tactic are keys of the path", highlight=False)


def tactics() -> None:
    """The tactics, their devices, parameters and needs."""
    from rich.table import Table

    from greenray.cli.console import console as make_console
    from greenray.tactics.registry import TACTICS, tactic_class

    grid = Table("tactic", "devices", "parameters", "what it does", "needs", box=None, header_style="bold", pad_edge=False)
    for name in TACTICS:
        cls = tactic_class(name)
        params = ", ".join(f"{key}={value}" for key, value in cls.Params().model_dump(mode="json").items())
        grid.add_row(name, ", ".join(cls.devices), params or "-", cls.summary, cls.needs or "-")
    make_console().print(grid, markup=False)
