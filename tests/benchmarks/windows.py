"""How many windows a 2 % interval needs on the quickstart's models, beside a fixed ten.

    python -m tests.benchmarks.windows [--models vit,resnet] [--tactics baseline,compile]

Every model and tactic of configs/quickstart.yaml's `serve` is measured twice, one right after the other and in turn the one or
the other first: with windows added until the 95 % interval of J/sample is within 2 % (three at least, ten at most), and with ten
windows come what may. Weights are fresh, since training would change neither. The last lines replay the adaptive rule on the
fixed ten's own windows, which no noise between the two runs can touch, for wider targets too.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenray.config import build
from greenray.matrix import Cell, expand
from greenray.settings import CpuModel, Measure, Trust
from greenray.store import reader
from greenray.sweep.orders import Order, WorkerSettings
from greenray.sweep.verdicts import Verdicts, half_width
from greenray.sweep.worker import Worker
from tests.benchmarks.paired import MET, MISSED, UNRESOLVED

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
TARGET, FEWEST, MOST = 0.02, 3, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One cell's J/sample by window, and the seconds of its steady windows."""

    j_per_sample: list[float]
    steady_s: float

    @property
    def half_width(self) -> float:
        found = half_width(self.j_per_sample)
        return float("nan") if found is None else found


class Bench:
    """A worker that measures in one of the two ways."""

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

    def run(self, cell: Cell) -> Measured:
        receipt = self._worker.run(Order(cell=cell, attempt=1, visit=None, order_in_visit=None, workers_sharing=1))
        if receipt.status != "ok":
            raise RuntimeError(f"{cell.model.label} {cell.tactic_slug}: {receipt.error}")
        usable = (pl.col("cell_id") == cell.cell_id) & (pl.col("kind") == "steady") & pl.col("rejected").is_null()
        windows = reader.scan(self._out, table="windows").filter(usable).sort("window").collect()
        return Measured(
            j_per_sample=(windows["total_energy_j"] / windows["samples"]).to_list(), steady_s=float(windows["duration_s"].sum())
        )

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


def replayed(values: list[float], measure: Measure) -> int:
    """How many of these windows the adaptive rule would have taken."""
    verdicts = Verdicts(measure)
    return next(
        (count for count, value in enumerate(values, 1) if verdicts.take(j_per_sample=value, rejected=False)), len(values)
    )


def main() -> int:
    """Print the table; MET if the adaptive number of windows is smaller, on a machine that reaches the target at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--models", "--tactics"):
        parser.add_argument(option, type=lambda text: set(text.split(",")), default=None)
    arguments = parser.parse_args()
    cells, measure = quickstart(models=arguments.models, tactics=arguments.tactics)
    usual = {"target_ci": TARGET, "max_windows": MOST, "idle_s": 0.1}  # idle power plays no part here
    ways = {
        "adaptive": measure.model_copy(update={**usual, "min_windows": FEWEST}),
        "fixed": measure.model_copy(update={**usual, "min_windows": MOST}),
    }
    found: dict[str, list[Measured]] = {way: [] for way in ways}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        benches = {way: Bench(Path(folder) / way, of_way) for way, of_way in ways.items()}
        try:
            print(f"{'windows until ±2 %, beside ten':44}{'adaptive':>20}{'fixed':>20}")
            for number, cell in enumerate(cells):
                for way in sorted(ways, reverse=number % 2 == 1):
                    found[way].append(benches[way].run(cell))
                line = [f"{len(found[way][-1].j_per_sample):6} {found[way][-1].half_width:10.1%}" for way in ways]
                print(f"{cell.model.label:16}{cell.tactic_slug:28}{line[0]:>20}{line[1]:>20}", flush=True)
        finally:
            for bench in benches.values():
                bench.close()
    used = {way: [len(one.j_per_sample) for one in measured] for way, measured in found.items()}
    _print_line("windows, all cells", {way: f"{sum(counts)}" for way, counts in used.items()})
    _print_line("windows a cell, median", {way: f"{statistics.median(counts):g}" for way, counts in used.items()})
    _print_line("seconds in windows", {way: f"{sum(one.steady_s for one in measured):.0f}" for way, measured in found.items()})
    widths = {way: [one.half_width for one in measured] for way, measured in found.items()}
    _print_line("interval reached, median", {way: f"±{statistics.median(values):.1%}" for way, values in widths.items()})
    within = {way: sum(value <= TARGET for value in values) for way, values in widths.items()}
    _print_line("cells within ±2 %", {way: f"{count} of {len(cells)}" for way, count in within.items()})
    print(f"the adaptive rule on the fixed ten's own windows ({time.monotonic() - began_s:.0f} s in all):")
    for target in (TARGET, 0.05, 0.1):
        rule = ways["adaptive"].model_copy(update={"target_ci": target})
        again = [one.j_per_sample[: replayed(one.j_per_sample, rule)] for one in found["fixed"]]
        reached = sum((half_width(values) or 0.0) <= target for values in again)
        counts = [len(values) for values in again]
        print(
            f"  ±{target:3.0%}: {sum(counts)} of {sum(used['fixed'])} windows, median {statistics.median(counts):g} a cell; "
            f"reached on {reached} of {len(cells)}"
        )
    if max(within.values()) < len(cells) / 2:
        print("not resolved on this machine: it is so unsteady that ten windows seldom reach the target either way")
        return UNRESOLVED
    return MET if sum(used["adaptive"]) < sum(used["fixed"]) else MISSED


def _print_line(title: str, values: dict[str, str]) -> None:
    print(f"{title:44}{values['adaptive']:>20}{values['fixed']:>20}")


if __name__ == "__main__":
    sys.exit(main())
