"""Hosts and boards on which sweeps are simulated, and the sweeps: how much each window measures, what was true, what was seen.

A level is the natural logarithm of J/sample, so that what happens to it adds up. Every array is by sweep, round, model and place
in the visit (the driver's: opening baseline, tactics in random order, closing baseline). Rounds are spread in time as the driver
spreads them: a round of all models, in random order, before the next. Time is counted in cells.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WINDOWS = 2
"""Windows that a process gives."""
OPEN, CLOSE = -1, -2
"""In the place of a tactic's number: the two baselines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tactic:
    """What a tactic does: mean of the log ratio over all families there are, and standard deviations of families and models."""

    name: str
    mean: float
    families: float = 0.0
    models: float = 0.0


TACTICS = (
    Tactic(name="compile", mean=math.log(0.65), families=0.15, models=0.03),
    Tactic(name="dynamic-quantization", mean=math.log(1.1), families=0.08, models=0.02),
    Tactic(name="bf16", mean=math.log(0.9), families=0.04, models=0.01),
    Tactic(name="prune-global", mean=0.0),  # masks take no work away
)
PLACES = len(TACTICS) + 2
FAMILIES = {1: 1, 3: 3, 12: 12, 42: 30}
"""Families of so many models; of 42 models twelve are of a family that another one is of too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What disturbs a measurement; standard deviations and steps are of levels (0.01 = 1 %).

    Attributes:
        rounds: of every block; or (first stage, most), in which each tactic gets as many as Stein's procedure asks for.
        window, process: noise of a window, and of a process as a whole; `tails`: degrees of freedom of the latter, if Student's.
        warm_sweep: what a cold host draws less at the sweep's start, gone with a time constant of 20 cells; `warm_visit`: the
            same anew in every visit, 2 cells, where a pause comes before each. The driver leaves none, because baselines at the
            ends of a visit stand where such a host is coldest and hottest: they misjudge it by a tenth of that.
        busy: share of the visits in which a neighbour runs for a while: begins at a random cell, lasts 2 cells on average, adds
            5 to 50 %; `seen`: in how many of the cells that it disturbs the evidence says so.
        step: change of level that comes at a random moment of the sweep, to stay.
        unequal: noise of models, and of tactics against each other, lies this many times apart.
        ends: whether the two baselines open and close a visit; else they stand at random places of it, as tactics do.
    """

    name: str
    rounds: int | tuple[int, int] = 5
    window: float = 0.005
    process: float = 0.004
    tails: int | None = None
    warm_sweep: float = 0.0
    warm_visit: float = 0.0
    busy: float = 0.0
    seen: float = 0.7
    step: float = 0.0
    unequal: float = 1.0
    ends: bool = True

    @property
    def drifts(self) -> bool:
        """Whether a visit's two baselines differ in truth, so that the null check has something to find."""
        return bool(self.ends and (self.warm_visit or self.warm_sweep)) or bool(self.step)

    @property
    def most_rounds(self) -> int:
        return self.rounds if isinstance(self.rounds, int) else self.rounds[1]


WORLDS = (
    World(name="quiet board"),
    World(name="quiet board, 3 rounds", rounds=3),
    World(name="warms up", process=0.008, warm_sweep=0.05),
    World(name="processes differ by 2 %", process=0.02),
    World(name="processes differ by 2 %, 3 to 12 rounds", process=0.02, rounds=(3, 12)),
    World(name="shared host", process=0.005, busy=0.15),
    World(name="shared host, 2 %, 3 to 12 rounds", process=0.02, busy=0.15, rounds=(3, 12)),
    World(name="heavy tails", process=0.02, tails=4),
    World(name="a step of 10 %", process=0.02, step=math.log(1.1)),
    World(name="unequal variances", unequal=5.0),
    World(name="unequal variances, 3 to 12 rounds", unequal=5.0, rounds=(3, 12)),
)
"""The noise of the first four kinds is what it must be for the intervals that one visit of four windows used to be given (window
noise of both arms and their drift) to hold the truth as seldom as was found: 92 % of them on a quiet board, 80 % where it warms
up, 60 % where processes differ, 87 % on a shared host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeps:
    """Simulated sweeps.

    Attributes:
        levels: of each window (sweep, round, model, place, window).
        tactics: number of the tactic at each place, or OPEN, CLOSE (sweep, round, model, place).
        contended: whether the evidence says that others took the host's processors.
        measured: whether the cell is run at all; here all are, see `simulated.adapted`.
        effects: true log ratio (sweep, model, tactic).
        families: number of the family of each model.
    """

    world: World
    levels: Array
    tactics: Array
    contended: Array
    measured: Array
    effects: Array
    families: Array


def simulate(world: World, *, models: int, sweeps: int, seed: int) -> Sweeps:
    """So many sweeps of so many models in a world, always the same of a seed."""
    dice = np.random.default_rng([seed, models, zlib.crc32(world.name.encode())])
    shape = (sweeps, world.most_rounds, models, PLACES)
    families = np.arange(models) % FAMILIES[models]
    effects = _effects(dice, families, sweeps=sweeps)
    tactics = _places(dice, shape, ends=world.ends)
    levels, contended = _disturbances(world, dice, shape)
    rows = np.arange(sweeps)[:, None, None, None], np.arange(models)[None, None, :, None]
    levels += np.where(tactics < 0, 0.0, effects[*rows, tactics])
    noise = _noise(world, dice, sweeps=sweeps, models=models)[*rows, tactics]
    noisy = levels + noise * world.process * _standard(dice, shape, tails=world.tails)
    windows = noisy[..., None] + (noise * world.window)[..., None] * dice.standard_normal((*shape, WINDOWS))
    return Sweeps(
        world=world,
        levels=windows,
        tactics=tactics,
        contended=contended,
        measured=np.ones(shape, dtype=bool),
        effects=effects,
        families=families,
    )


def _effects(dice: np.random.Generator, families: Array, *, sweeps: int) -> Array:
    """What is true of each model: the mean over all families, its family's share and its own."""
    spread = [np.array([getattr(tactic, name) for tactic in TACTICS]) for name in ("mean", "families", "models")]
    of_family = dice.standard_normal((sweeps, families.max() + 1, len(TACTICS)))[:, families]
    of_model = dice.standard_normal((sweeps, len(families), len(TACTICS)))
    found: Array = spread[0] + spread[1] * of_family + spread[2] * of_model
    return found


def _places(dice: np.random.Generator, shape: tuple[int, ...], *, ends: bool) -> Array:
    """Which tactic runs where: each visit in a random order of its own, the baselines among them or at the ends."""
    order = dice.permuted(np.broadcast_to([*range(len(TACTICS)), OPEN, CLOSE], shape), axis=-1)
    if not ends:
        return order
    inside = order[order >= 0].reshape(*shape[:3], len(TACTICS))
    return np.concatenate([np.full((*shape[:3], 1), OPEN), inside, np.full((*shape[:3], 1), CLOSE)], axis=-1)


def _disturbances(world: World, dice: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """What the host adds to each cell, whoever runs there, and whether the evidence tells of others."""
    sweeps, rounds, models, places = shape
    turn = dice.permuted(np.broadcast_to(np.arange(models), (sweeps, rounds, models)), axis=-1)
    visit = np.arange(rounds)[None, :, None] * models + turn
    place = np.arange(places)
    time = visit[..., None] * places + place
    levels = -world.warm_sweep * np.exp(-time / 20) - world.warm_visit * np.exp(-place / 2)
    moment = dice.uniform(0, rounds * models * places, (sweeps, 1, 1, 1))
    levels += world.step * (time >= moment)
    begins = dice.integers(0, places, shape[:3])
    lasts = dice.geometric(0.5, shape[:3])
    busy = (dice.random(shape[:3]) < world.busy)[..., None] & (place >= begins[..., None]) & (place < (begins + lasts)[..., None])
    levels += np.where(busy, dice.uniform(0.05, 0.5, shape), 0.0)
    return levels, busy & (dice.random(shape) < world.seen)


def _noise(world: World, dice: np.random.Generator, *, sweeps: int, models: int) -> Array:
    """How many times the world's noise there is by sweep, model and tactic, baselines last (as OPEN and CLOSE count)."""
    of_model = world.unequal ** dice.random((sweeps, models, 1))
    of_arm = world.unequal ** dice.random((sweeps, models, PLACES))
    of_arm[..., CLOSE] = of_arm[..., OPEN]
    found: Array = of_model * of_arm
    return found


def _standard(dice: np.random.Generator, shape: tuple[int, ...], *, tails: int | None) -> Array:
    """Noise of standard deviation 1, Student's where tails are asked for."""
    return dice.standard_normal(shape) if tails is None else dice.standard_t(tails, shape) * math.sqrt((tails - 2) / tails)
