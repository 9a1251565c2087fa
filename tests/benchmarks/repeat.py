"""The same command several times: do the answers contradict each other? On a host left alone, and beside one busy program.

    python -m tests.benchmarks.repeat [--runs 3] [--config configs/quickstart.yaml] [--busy] [--keep DIR]

Takes runs x 5 minutes, twice that with --busy, and so is not part of `make bench`. Each run is a whole `greenray sweep` into a
fresh folder. Then every comparison (model x tactic, and over models) is held against itself in every pair of runs: two 95 %
intervals contradict each other when they have nothing in common. Of true intervals of five rounds one pair in two hundred does so
by chance; the target leaves room for what changes on a host within an hour. Pruning by masks takes no work away, so that whatever
is clear of it is wrong.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from statistics import median

from greenray.analysis import analyse
from greenray.analysis.effects import ModelEffect
from greenray.analysis.overall import OverallEffect
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import percent_change
from tests.benchmarks.paired import MET, MISSED
from tests.support import ROOT

CONTRADICTING, SECONDS, HALF_WIDTH = 0.07, 300.0, 6.0
"""Targets: share of pairs that contradict each other; seconds a run; median half-width of a quiet run in points."""
WITHOUT_EFFECT = ("prune-local", "prune-global")
OVER_MODELS = "over models"
Comparison = tuple[str, str]
"""Model (or OVER_MODELS) and tactic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run said.

    Attributes:
        energy, time: ratios by comparison, None where none is given.
        seconds: how long the command took; None where it ran earlier.
        caveats: what its report says above all numbers.
    """

    name: str
    energy: Mapping[Comparison, Estimate | None]
    time: Mapping[Comparison, Estimate | None]
    caveats: tuple[str, ...]
    seconds: float | None = None


def read(out: Path, *, name: str, seconds: float | None = None) -> Run:
    """What the store of a run says."""
    analysis = analyse(out)
    effects: dict[Comparison, ModelEffect | OverallEffect] = {(one.label, one.tactic): one.effect for one in analysis.findings}
    effects |= {(OVER_MODELS + one.context(analysis.overall), one.tactic): one for one in analysis.overall}
    return Run(
        name=name,
        energy={comparison: effect.energy for comparison, effect in effects.items()},
        time={comparison: effect.time for comparison, effect in effects.items()},
        caveats=tuple(caveat.text for caveat in analysis.caveats if caveat.weighty),
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How runs agree on one quantity, over all comparisons.

    Attributes:
        pairs: of runs, both with an interval; `contradicting`: those whose intervals have nothing in common.
        opposite: pairs in which both are clear, of different signs.
        half_width: median, in points; None without any interval.
    """

    pairs: int
    contradicting: int
    opposite: int
    half_width: float | None

    @property
    def met(self) -> bool:
        return self.opposite == 0 and self.contradicting <= CONTRADICTING * self.pairs

    def __str__(self) -> str:
        if not self.pairs:
            return "no pair has two intervals"
        share = f" ({self.contradicting / self.pairs:.0%})"
        width = "no interval at all" if self.half_width is None else f"median half-width {self.half_width:.1f} points"
        return (
            f"{self.contradicting} of {self.pairs} pairs contradict each other{share}, "
            f"{self.opposite} with both clear and opposite; {width}; "
            f"target <= {CONTRADICTING:.0%} and none opposite, {'ok' if self.met else 'MISSED'}"
        )


def agreement(quantity: str, pairs: Sequence[tuple[Run, Run]]) -> Agreement:
    """`quantity` is energy or time."""
    found = []
    for one, other in pairs:
        ours, theirs = getattr(one, quantity), getattr(other, quantity)
        found += [(ours[key], theirs[key]) for key in ours.keys() & theirs.keys() if known(ours[key]) and known(theirs[key])]
    runs = {run.name: getattr(run, quantity) for pair in pairs for run in pair}
    widths = [estimate.half_width_points for run in runs.values() for estimate in run.values() if known(estimate)]
    return Agreement(
        pairs=len(found),
        contradicting=sum(a.high < b.low or b.high < a.low for a, b in found),
        opposite=sum(bool(a.clear and b.clear) and (a.ratio - 1) * (b.ratio - 1) < 0 for a, b in found),
        half_width=median(widths) if widths else None,
    )


def known(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.low is not None


def false_claims(run: Run, quantity: str, *, quiet: Sequence[Run]) -> list[str]:
    """What a run calls clear although it is not so, or although quiet runs are clear about the opposite; a sentence each."""
    found = []
    for (model, tactic), estimate in getattr(run, quantity).items():
        if estimate is None or not estimate.clear:
            continue
        others = [other for one in quiet if (other := getattr(one, quantity).get((model, tactic))) is not None and other.clear]
        said = f"{run.name}, {model}, {tactic}: {quantity} {percent_change(estimate)}"
        if tactic.split("_")[0] in WITHOUT_EFFECT:
            found.append(f"{said}, where there is no effect")
        elif any((other.ratio - 1) * (estimate.ratio - 1) < 0 for other in others):
            found.append(f"{said}, opposite to {percent_change(others[0])} on the quiet host")
    return found


def table(runs: Sequence[Run], quantity: str) -> Iterator[str]:
    """Markdown: a row a comparison, a column a run; what is clear is bold."""
    yield f"| {quantity} | " + " | ".join(run.name for run in runs) + " |"
    yield "|---" * (len(runs) + 1) + "|"
    for model, tactic in dict.fromkeys(key for run in runs for key in getattr(run, quantity)):
        cells = [getattr(run, quantity).get((model, tactic)) for run in runs]
        shown = [f"**{percent_change(cell)}**" if cell is not None and cell.clear else percent_change(cell) for cell in cells]
        yield f"| {model}, {tactic} | " + " | ".join(shown) + " |"


@contextmanager
def busy_program() -> Iterator[None]:
    """A program that takes a processor, and is gone afterwards."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def sweep(config: Path, out: Path) -> float:
    """Run the whole command; seconds that it took. Raises RuntimeError where it says that it could not."""
    command = [sys.executable, "-m", "greenray.cli.app", "sweep", str(config), "--out", str(out)]
    begin_s = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, check=False)
    if done.returncode not in (0, 1):  # 1: some cells failed, and the report says which
        raise RuntimeError(f"exit {done.returncode}: {(done.stderr or done.stdout)[-1000:]}")
    return time.monotonic() - begin_s


def report(quiet: Sequence[Run], busy: Sequence[Run]) -> int:
    """Print tables and verdicts; MET or MISSED."""
    met = True
    for quantity in ("energy", "time"):
        print("\n".join(["", *table([*quiet, *busy], quantity), ""]))
        compared = [("quiet runs", list(combinations(quiet, 2)))]
        compared += (
            [("busy runs", list(combinations(busy, 2))), ("busy against quiet", list(product(quiet, busy)))] if busy else []
        )
        for what, pairs in compared:
            found = agreement(quantity, pairs)
            empty = bool(pairs) and not found.pairs and what == "quiet runs"  # a busy host may leave nothing to compare
            met &= found.met and not empty
            print(f"{quantity}, {what}: {found}")
            if what == "quiet runs" and quantity == "energy" and pairs:
                narrow = found.half_width is not None and found.half_width <= HALF_WIDTH
                met &= narrow
                print(f"{quantity}, {what}: half-width <= {HALF_WIDTH:g} points: {'ok' if narrow else 'MISSED'}")
        wrong = [claim for run in (*quiet, *busy) for claim in false_claims(run, quantity, quiet=quiet)]
        # Each quiet interval errs in 5 of 100; beside a busy program nothing clear may be wrong.
        met &= not any(claim.startswith(f"{run.name},") for claim in wrong for run in busy)
        print("\n".join([f"{quantity}: {len(wrong)} clear and wrong", *(f"  {claim}" for claim in wrong)]))
    said: dict[str, list[str]] = defaultdict(list)
    for run in (*quiet, *busy):
        asked = run in quiet  # a busy host is waited for
        met &= not asked or run.seconds is None or run.seconds <= SECONDS
        took = "read" if run.seconds is None else f"{run.seconds:.0f} s"
        print(f"{run.name}: {took}" + (f" (target <= {SECONDS:.0f})" if asked else ""))
        for text in run.caveats:
            said[text].append(run.name)
    print("\n".join(["", "Said above the numbers:", *(f"- {', '.join(names)}: {text}" for text, names in said.items())]))
    return MET if met else MISSED


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each kind  [default: %(default)s]")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--busy", action="store_true", help="then as often beside a program that keeps a processor busy")
    parser.add_argument("--keep", type=Path, help="where the stores stay; those of whole runs there are read, not run again")
    options = parser.parse_args()
    kinds: dict[str, list[Run]] = {"run": [], "busy": []}
    with tempfile.TemporaryDirectory() if options.keep is None else nullcontext(options.keep) as folder:
        for kind, number in product(kinds if options.busy else ["run"], range(1, options.runs + 1)):
            name, out, seconds = f"{kind} {number}", Path(folder).resolve() / f"{kind}-{number}", None
            if not (out / "report.html").exists():
                with busy_program() if kind == "busy" else nullcontext():
                    seconds = sweep(options.config.resolve(), out)
            kinds[kind].append(read(out, name=name, seconds=seconds))
            print(f"{name}: {'read' if seconds is None else f'{seconds:.0f} s'}", flush=True)
    return report(kinds["run"], kinds["busy"])


if __name__ == "__main__":
    sys.exit(main())
