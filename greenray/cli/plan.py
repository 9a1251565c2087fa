"""What a config would run: cells, what is done, and what the rest is expected to take."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from greenray.analysis import expectations
from greenray.analysis.prices import load as load_prices
from greenray.config.cell import Block, Cell
from greenray.config.matrix import expand
from greenray.config.spec import SweepConfig
from greenray.driver.preflight import read_ledger
from greenray.driver.schedule import Schedule
from greenray.errors import StoreError
from greenray.store import layout, reader

_J_PER_KWH = 3.6e6


def print_plan(config: SweepConfig, *, out: Path, console: Console) -> None:
    """Print the blocks of a config against its store; what was never measured is "unknown", not guessed.

    Raises:
        ConfigError: the config contradicts itself.
        StoreError: `out` is there and no store.
    """
    if out.exists():
        layout.require_store(out)
    device, why = auto_device(config, out=out)
    blocks = expand(config, auto_device=device)
    ledger, _ = read_ledger(out, sweep=config.name)
    schedule = Schedule(blocks, ledger=ledger, max_attempts=config.limits.max_attempts)
    columns = ("cell", "visit", "phase", "model", "dataset", "device", "batch", "round", "tactic", "state")
    grid = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for block in blocks:
        for row in _rows(block, schedule):
            grid.add_row(*row)
        grid.add_section()
    console.print(grid, markup=False)
    left = [cell for block in blocks for cell in _cells_left(block, schedule)]
    total = sum(len(block.cells) for block in blocks)
    done = sum(schedule.settled(cell) for block in blocks for cell in block.cells)
    console.print()
    console.print(f"{total} cells in {len(blocks)} blocks, {done} done; device auto is {device} ({why})", highlight=False)
    console.print(_expected(left, out=out), highlight=False)


def auto_device(config: SweepConfig, *, out: Path) -> tuple[str, str]:
    """What `auto` stood for in the store's last run, else what this host suggests; and which of the two it is."""
    try:
        manifest = reader.manifests(out).get(config.name)
    except StoreError:
        manifest = None
    if manifest:
        return str(manifest["auto_device"]), "as in the store"
    from greenray.gpu import registry

    boards = len(registry.gpus())
    return ("cuda", f"{boards} boards here, if torch can use them") if boards else ("cpu", "no GPU here")


def _rows(block: Block, schedule: Schedule) -> Iterator[list[str]]:
    """What is settled, then the next visit in the order in which it will run."""
    for cell in block.cells:
        if schedule.settled(cell):
            yield _row(cell, visit=None, state=schedule.ledger.state(cell.cell_id).status or "")
    pending = schedule.pending(block)
    if pending:
        visit = schedule.visit(block, pending)
        for cell in visit.cells:
            yield _row(cell, visit=visit.number, state="to run")


def _row(cell: Cell, *, visit: int | None, state: str) -> list[str]:
    tactic = f"baseline ({cell.bracket})" if cell.bracket else cell.tactic_slug
    head = [cell.cell_id, "" if visit is None else str(visit), cell.phase, cell.model.label, cell.dataset.id, cell.device]
    return [*head, str(cell.batch_size), str(cell.round), tactic, state]


def _cells_left(block: Block, schedule: Schedule) -> list[Cell]:
    pending = schedule.pending(block)
    if not pending or not block.bracketed:
        return pending
    return [block.bracket("open", visit=1), *pending, block.bracket("close", visit=1)]


def _expected(left: list[Cell], *, out: Path) -> str:
    if not left:
        return "nothing left to run"
    known = expectations(out) if out.exists() else {}
    keys = [(cell.phase, cell.model.label, cell.device, cell.tactic_slug) for cell in left]
    unknown = Counter(key not in known for key in keys)[True]
    if unknown:
        return (
            f"{len(left)} cells to run, brackets included; time, kWh and cost unknown ({unknown} of a kind not measured in {out})"
        )
    seconds = sum(known[key].duration_s for key in keys)
    energies = [known[key].energy_j for key in keys]
    time = f"{len(left)} cells to run, brackets included: about {seconds / 60:.1f} min on one worker"
    if None in energies:
        return f"{time}; kWh and cost unknown"
    kwh = sum(energy for energy in energies if energy is not None) / _J_PER_KWH
    price = load_prices().electricity
    cost = f"{kwh * price.value:.4f} {price.unit.split('/')[0]}" if price is not None else "cost unknown"
    return f"{time}, {kwh:.5f} kWh, {cost}"
