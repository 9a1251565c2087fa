"""`greenray status`, `greenray schema` and `greenray tactics`: what there is."""

from collections import Counter
from typing import Annotated

import typer


def status(out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")]) -> None:
    """How far a sweep is, running or not, and what went wrong."""
    from greenray.cli.console import make_console, table
    from greenray.driver.ledger import Stored
    from greenray.store import tables
    from greenray.store.registry import open_store

    store = open_store(out)
    tables.require_store(store)
    console = make_console()
    stored = Stored.read(store)
    held = "running" if store.is_locked() else "not running"
    if not stored.manifests:
        found = (
            f"holds cells of {', '.join(stored.results)} and no manifest"
            if stored.results
            else "no sweep has come as far as its first cell"
        )
        console.print(f"{out}: {found}; {held}", highlight=False)
    for name, manifest in stored.manifests.items():
        ledger = stored.ledger(name, max_attempts=manifest["config"]["limits"]["max_attempts"])
        declared = [cell["cell_id"] for cell in manifest["cells"]]
        done = Counter(ledger.state(cell_id).status for cell_id in declared if ledger.settled(cell_id))
        counts = ", ".join(f"{n} {status}" for status, n in done.most_common()) or "none settled"
        console.print(f"{name}: {done.total()} of {len(declared)} cells settled ({counts}); {held}", highlight=False)
        ends = [state.result for state in ledger.cells.values() if state.result and state.status != "ok"]
        if ends:
            ends.sort(key=lambda end: (end.model, end.tactic))
            rows = ((end.status, end.model, end.tactic, end.device, end.cell_id, end.error or "") for end in ends)
            console.print(table("status", "model", "tactic", "device", "cell", "what happened", rows=rows), markup=False)


def schema() -> None:
    """The data dictionary: every column of the store with type, unit and meaning."""
    from greenray.cli.console import make_console, table
    from greenray.store.schema import SCHEMA_VERSION, dictionary

    console, columns = make_console(), ("table", "column", "type", "unit", "meaning")
    rows = ([row[column] for column in columns] for row in dictionary())
    console.print(table(*columns, rows=rows), markup=False)
    console.print(f"\nschema version {SCHEMA_VERSION}; sweep and tactic are keys of the path", highlight=False)


def tactics() -> None:
    """The tactics, their devices, parameters, needs and sources."""
    from greenray.cli.console import make_console, table
    from greenray.tactics.registry import TACTICS, tactic_class

    grid = table("tactic", "devices", "parameters", "what it does, what it needs, where it comes from")
    grid.columns[-1].overflow = "fold"  # an address is of no use without its end
    for name in TACTICS:
        cls = tactic_class(name)
        params = "\n".join(f"{key}={value}" for key, value in cls.Params().model_dump(mode="json").items())
        needs = f"needs: {cls.needs}" if cls.needs else ""
        grid.add_row(name, ", ".join(cls.devices), params, "\n".join(filter(None, (cls.summary, needs, cls.source))))
        grid.add_section()
    make_console().print(grid, markup=False)
