"""How many windows a 2 % interval needs on the quickstart's models, beside a fixed ten.

    python -m tests.benchmarks.windows [--models vit,resnet] [--tactics baseline,compile] [--window-s 5]

Every model and tactic of configs/quickstart.yaml's `serve` is measured with ten windows of the default length, come what may. The
sweep's own rule (`sweep.verdicts`) is then asked after which of them it would have stopped: the windows follow on one another, so
these are the very windows that it would have had, and no noise between two runs comes in. Weights are fresh, since training would
change neither.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenray.config.cell import Cell
from greenray.config.load import build
from greenray.config.matrix import expand
from greenray.config.settings import CpuModel, Measure, Trust
from greenray.store import reader
from greenray.worker.assignment import Assignment, WorkerSettings
from greenray.worker.monitor import Verdicts, half_width
from greenray.worker.worker import Worker
from tests.benchmarks.paired import MET, MISSED, UNRESOLVED

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
TARGETS = (0.02, 0.05, 0.1)
FEWEST, MOST = 3, 10


class Bench:
    """A worker that measures one cell after the other."""

    def __init__(self, folder: Path, measure: Measure) -> None:
        self._out = folder
        self._worker = Worker(
            WorkerSettings(
                out=str(folder),
                probe=None,
                sweep="bench",
                measure=measure,
                cpu_model=CpuModel(),
                cell_timeout_s=300,
                cell_memory_bytes=None,
                trust=Trust(),
            ),
            from_ray=False,
        )

    def run(self, cell: Cell) -> list[float]:
        """J/sample of the cell's windows."""
        result = self._worker.run(Assignment(cell=cell, attempt=1, visit=None, order_in_visit=None, workers_sharing=1))
        if result.status != "ok":
            raise RuntimeError(f"{cell.model.label} {cell.tactic_slug}: {result.error}")
        usable = (pl.col("cell_id") == cell.cell_id) & (pl.col("kind") == "steady") & pl.col("rejected").is_null()
        windows = reader.scan(self._out, table="windows").filter(usable).sort("window").collect()
        return (windows["total_energy_j"] / windows["samples"]).to_list()

    def close(self) -> None:
        self._worker.close()


def quickstart(*, models: set[str] | None, tactics: set[str] | None) -> tuple[list[Cell], Measure]:
    """The cells of `serve`, baselines included, and how the quickstart measures."""
    data: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    train, serve = data["experiments"][:2]
    chosen = [model for model in train["models"] if models is None or model["architecture"] in models]
    config = build({"name": "bench", "experiments": [{**serve, "models": chosen}], "measure": data["measure"]})
    cells = [cell for block in expand(config, auto_device="cpu") for cell in (block.bracket("open", visit=1), *block.cells)]
    return [cell for cell in cells if tactics is None or cell.tactic_slug in tactics], config.measure


def needed(j_per_sample: list[float], rule: Measure) -> int | None:
    """How many of these windows the rule would have taken; None where its target is not reached with all of them."""
    verdicts = Verdicts(rule)
    for count, value in enumerate(j_per_sample, 1):
        if verdicts.take(j_per_sample=value, rejected=False):
            width = half_width(j_per_sample[:count])
            return count if width is not None and width <= rule.target_ci else None
    return None


def main() -> int:
    """Print the table; MET if fewer windows are needed than ten, on a machine that reaches the target at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--models", "--tactics"):
        parser.add_argument(option, type=lambda text: set(text.split(",")), default=None)
    parser.add_argument("--window-s", type=float, default=Measure().window_s, help="length of a window  [default: %(default)s]")
    arguments = parser.parse_args()
    cells, measure = quickstart(models=arguments.models, tactics=arguments.tactics)
    # Idle power plays no part here.
    ten = measure.model_copy(update={"window_s": arguments.window_s, "min_windows": MOST, "max_windows": MOST, "idle_s": 0.1})
    rules = {target: ten.model_copy(update={"min_windows": FEWEST, "target_ci": target}) for target in TARGETS}
    counts: dict[float, list[int | None]] = {target: [] for target in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), ten)
        try:
            print(f"{f'windows of {ten.window_s:g} s until':40}" + "".join(f"{f'±{t:.0%}':>8}" for t in TARGETS) + "   after ten")
            for cell in cells:
                values = bench.run(cell)
                for target, rule in rules.items():
                    counts[target].append(needed(values, rule))
                shown = "".join(f"{found[-1] or 'never':>8}" for found in counts.values())
                print(
                    f"{cell.model.label:16}{cell.tactic_slug:24}{shown}   ±{half_width(values) or float('nan'):.1%}", flush=True
                )
        finally:
            bench.close()
    for target, found in counts.items():
        reached = sum(count is not None for count in found)
        taken = [count or MOST for count in found]
        print(
            f"±{target:.0%}: {sum(taken)} windows instead of {MOST * len(found)}, median {statistics.median(taken):g} a cell; "
            f"reached in {reached} of {len(found)} cells"
        )
    first = counts[TARGETS[0]]
    if sum(count is not None for count in first) < len(first) / 2:
        print("not resolved on this machine: it is so unsteady that ten windows seldom reach the first target")
        return UNRESOLVED
    return MET if sum(count or MOST for count in first) < MOST * len(first) else MISSED


if __name__ == "__main__":
    sys.exit(main())
