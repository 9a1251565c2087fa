"""In which order should arms be measured? Four designs at equal time, on this host and on simulated ones.

    python -m tests.benchmarks.order [--seconds 600] [--window-s 2] [--rounds 1000]

one baseline     the arms and one baseline, in random order, a fresh process each
two brackets     a baseline, the arms, another baseline; compared is with the mean of both
two anywhere     the same with both baselines at random places
interleaved      all arms and one baseline alive together, four short windows each in turn, in random order

All arms are alike, so that every log ratio is an error. A design that takes longer gets fewer rounds: shown is the half-width of
a 95 % interval that a minute buys, by the root mean square of the errors, and by their median, which bursts do not move; and the
mean error, which no number of rounds takes away. On this host the designs take turns. Simulated are the hosts of
`timeline.HOSTS`, where a process costs `timeline.START_S` beside its windows.
Not part of `make bench`: ten minutes, and it rests on nothing else running.
"""

import argparse
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, median

from tests.benchmarks.designs import DESIGNS
from tests.benchmarks.forked import Forked
from tests.benchmarks.load import MODELS
from tests.benchmarks.timeline import HOSTS, Host, Timeline

ARMS = (4, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of one design: the errors of its arms, and how long it took."""

    host: str
    arms: int
    design: str
    errors: list[float]
    seconds: float


def take(host: Host, *, name: str, arms: int, design: str, window_s: float, dice: random.Random) -> Round:
    host.pause()
    begin_s = host.now_s()
    errors = DESIGNS[design](host, arms, window_s, dice)
    return Round(host=name, arms=arms, design=design, errors=errors, seconds=host.now_s() - begin_s)


def measured(*, seconds: float, window_s: float, dice: random.Random) -> Iterator[Round]:
    """Rounds on this host, the designs in turn, model by model."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for arms in ARMS:
            for model in MODELS:
                for design in dice.sample(list(DESIGNS), len(DESIGNS)):
                    yield take(Forked(model), name="this host", arms=arms, design=design, window_s=window_s, dice=dice)


def simulated(*, rounds: int, window_s: float, dice: random.Random) -> Iterator[Round]:
    """Rounds on each simulated host, one after the other on its clock."""
    for name, habits in HOSTS.items():
        for arms in ARMS:
            for design in DESIGNS:
                host = Timeline(habits, dice)
                for _ in range(rounds):
                    yield take(host, name=name, arms=arms, design=design, window_s=window_s, dice=dice)


def print_table(rounds: list[Round]) -> None:
    groups: dict[tuple[str, int, str], list[Round]] = defaultdict(list)
    for one in rounds:
        groups[one.host, one.arms, one.design].append(one)
    print(
        f"{'host':36}{'arms':>5}  {'design':14}{'rounds':>7}{'s each':>8}{'rms %':>9}{'mean %':>9}{'±% a min':>10}{'median':>8}"
    )
    hosts, designs = list(dict.fromkeys(one.host for one in rounds)), list(DESIGNS)
    for host, arms, design in sorted(groups, key=lambda key: (hosts.index(key[0]), -key[1], designs.index(key[2]))):
        members = groups[host, arms, design]
        errors = [error for one in members for error in one.errors]
        each_s = fmean(one.seconds for one in members)
        by_time = 196 / math.sqrt(60 / each_s)
        spread, core = math.sqrt(fmean(error * error for error in errors)), 1.4826 * median(map(abs, errors))
        print(
            f"{host:36}{arms:5}  {design:14}{len(members):7}{each_s:8.1f}{spread * 100:9.2f}{fmean(errors) * 100:+9.2f}"
            f"{spread * by_time:10.2f}{core * by_time:8.2f}"
        )


def main() -> int:
    """Print the table; there is no target, it is a choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to measure here; 0: simulate only")
    parser.add_argument("--window-s", type=float, default=2.0, help="what a process is measured for in all")
    parser.add_argument("--rounds", type=int, default=1000, help="of each design on each simulated host")
    options = parser.parse_args()
    dice = random.Random(0)
    here = list(measured(seconds=options.seconds, window_s=options.window_s, dice=dice))
    print_table([*here, *simulated(rounds=options.rounds, window_s=options.window_s, dice=dice)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
