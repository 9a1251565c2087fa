"""What a config would run: cells, what is done, and what the rest is expected to take."""

from collections.abc import Iterator

from rich.console import Console

from greenray.analysis.cost import JOULES_PER_KWH
from greenray.analysis.prices import load as load_prices
from greenray.cli.console import table
from greenray.config.cell import Block, Cell
from greenray.config.spec import SweepConfig
from greenray.driver.ledger import Stored
from greenray.driver.plan import Plan, Schedule
from greenray.driver.rounds import add_rounds
from greenray.store.base import Store


def print_plan(config: SweepConfig, *, store: Store, console: Console) -> None:
    """Print the blocks of a config against its store; what was never measured is "unknown", not guessed.

    Raises ConfigError where the config contradicts itself, StoreError where there is something at `store` and it is no store.
    """
    stored = Stored.read(store)
    device, why = auto_device(config, stored=stored)
    plan = Plan(config, stored=stored, auto_device=device)
    if Schedule(plan).finished():
        add_rounds(plan, store)
    grid = table("cell", "visit", "phase", "model", "dataset", "device", "batch", "round", "tactic", "state")
    for block in plan.blocks:
        for row in _rows(block, plan):
            grid.add_row(*row)
        grid.add_section()
    console.print(grid, markup=False)
    console.print()
    blocks = {cell.block_id for cell in plan.cells.values()}
    counts = f"{len(plan.cells)} cells in {len(blocks)} blocks, {plan.settled()} done"
    console.print(f"{counts}; device auto is {device} ({why})", highlight=False)
    console.print(_expected(plan, out=store.out), highlight=False)
    if plan.bounds and any(map(plan.pending, plan.blocks)):
        at_most = max(bounds.most for bounds in plan.bounds.values())
        target = config.measure.target_ci * 100
        console.print(
            f"then further rounds, {at_most} in all at most, of what is not known within ±{target:g} %", highlight=False
        )


def auto_device(config: SweepConfig, *, stored: Stored) -> tuple[str, str]:
    """What `auto` stood for in the store's last run, else what this host suggests; and which of the two it is."""
    manifest = stored.manifests.get(config.name)
    if manifest:
        return str(manifest["auto_device"]), "as in the store"
    from greenray.gpu import registry

    gpus = len(registry.gpus())
    return ("cuda", f"{gpus} boards here, if torch can use them") if gpus else ("cpu", "no GPU here")


def _rows(block: Block, plan: Plan) -> Iterator[list[str]]:
    """What is settled, then the next visit in the order in which it will run."""
    for cell in block.cells:
        if plan.ledger.settled(cell.cell_id):
            yield _row(cell, visit=None, state=plan.ledger.state(cell.cell_id).status or "")
    if visit := plan.next_visit(block):
        for cell in visit.cells:
            yield _row(cell, visit=visit.number, state="to run")


def _row(cell: Cell, *, visit: int | None, state: str) -> list[str]:
    tactic = f"baseline ({cell.bracket})" if cell.bracket else cell.tactic_slug
    head = [cell.cell_id, "" if visit is None else str(visit), cell.phase, cell.model.label, cell.dataset.id, cell.device]
    return [*head, str(cell.batch_size), str(cell.round), tactic, state]


def _expected(plan: Plan, *, out: str) -> str:
    left = [kind for block in plan.blocks for kind in plan.kinds_left(block)]
    if not left:
        return "nothing left to run"
    known = list(filter(None, map(plan.ledger.expected, left)))
    to_run = f"{len(left)} cells to run, brackets included"
    if unknown := len(left) - len(known):
        return f"{to_run}; time, kWh and cost unknown ({unknown} of a kind not measured in {out})"
    time = f"{to_run}: about {sum(each.duration_s for each in known) / 60:.1f} min on one worker"
    energies = [each.energy_j for each in known if each.energy_j is not None]
    if len(energies) < len(known):
        return f"{time}; kWh and cost unknown"
    kwh = sum(energies) / JOULES_PER_KWH
    price = load_prices().electricity
    cost = f"{kwh * price.value:.4f} {price.unit.split('/')[0]}" if price is not None else "cost unknown"
    return f"{time}, {kwh:.5f} kWh, {cost}"
