"""What both papers found, as figures to hold measurements against: dated, with where each is from.

A figure alone is no claim that data could bear out, as no two measurements are the same: what is held against data is how large
it is within a factor of two, which way it goes, or what its own interval leaves open. These ends are ours.
"""

import math

from greenray.analysis import association
from greenray.analysis.correlations import TRAINING_ENERGY
from greenray.analysis.papers.claim import Claim, Paper
from greenray.analysis.wording import MINUS, coefficient

NOTHING_WON = 0.95
"""Where a paper says that nothing is won, savings of under 5 % are nothing."""
STRONG = math.sqrt(0.5)
"""A correlation that explains half of the variance: what "goes with" is taken to mean where a paper says that one does not."""


def _changes(tactic: str, measure: str, ratio: float) -> Claim:
    """Tactic over baseline (0.45: 55 % less): the logarithm of ours is half to twice as large."""
    least, most = ratio**0.5, ratio**2
    percents = [f"{MINUS if one < 1 else '+'}{abs(one - 1) * 100:.3g}" for one in (ratio, least, most)]
    words = f"{percents[0]} %, taken as {percents[1]} to {percents[2]} %"
    direction = _less(tactic, measure) if ratio < 1 else _more(tactic, measure)
    return Claim(subject=tactic, measure=measure, words=words, low=min(least, most), high=max(least, most), direction=direction)


def _less(tactic: str, measure: str) -> Claim:
    return Claim(subject=tactic, measure=measure, words="less", low=0.0, high=1.0)


def _more(tactic: str, measure: str) -> Claim:
    return Claim(subject=tactic, measure=measure, words="more", low=1.0, high=math.inf)


def _not_less(tactic: str, measure: str) -> Claim:
    return Claim(subject=tactic, measure=measure, words="not less, by 5 % or more", low=NOTHING_WON, high=math.inf)


def _together(descriptor: str, *, low: float, high: float, models: int) -> Claim:
    """Pearson's r with training energy over so many models, as one figure or as the range of several ways to look.

    With an interval that holds 0 the paper found none, and the claim is that none is strong. Else it is that the correlation is
    as strong as the paper's own interval makes sure of, or stronger.
    """
    ends = [association.interval(r, n=models) or (r, r) for r in (low, high)]
    none = ends[0][0] <= 0
    at_least = -STRONG if none else ends[0][0]
    meaning = f"within ±{coefficient(STRONG)}" if none else f"{coefficient(at_least)} or more"
    figure = coefficient(low) + (f" to {coefficient(high)}" if high != low else "")
    words = f"r {figure} over {models} models, taken as {meaning}"
    return Claim(subject=descriptor, measure=TRAINING_ENERGY, words=words, low=at_least, high=STRONG if none else math.inf)


GONZALEZ = Paper(
    title="González, Castaño, Franch, Martínez-Fernández: Impact of ML Optimization Tactics on Greener Pre-Trained ML Models",
    short="González et al. (2024)",
    date="2024-09",
    source="https://arxiv.org/abs/2409.12878",
    figures="percentages by a re-analysis of its raw data, directions by its abstract",
    claims=(
        _changes("dynamic-quantization", "time_s", 0.5),
        _changes("dynamic-quantization", "energy_j", 0.465),
        _changes("dynamic-quantization", "gpu_energy_j", 0.45),
        _changes("dynamic-quantization", "gpu_power_w", 0.9),
        _changes("dynamic-quantization", "accuracy_ratio", 0.862),
        _changes("dynamic-quantization", "parameters_bytes", 0.06),
        _changes("dynamic-quantization", "size_bytes", 0.06),
        _less("compile", "energy_j"),
        _not_less("prune-local", "time_s"),
        _more("prune-global", "time_to_apply_s"),
    ),
)

MAVROMATIS = Paper(
    title="Mavromatis, Katsaros, Khan: Computing Within Limits",
    short="Mavromatis et al. (2024)",
    date="2024-06",
    source="https://arxiv.org/abs/2406.14328",
    figures="correlations, and what they say of parameters and MACs, by a re-analysis of the points that it published; its "
    "abstract says that short profiles and model parameters predict the total",
    claims=(
        _together("parameters", low=0.05, high=0.05, models=14),
        _together("macs_per_sample", low=0.78, high=0.84, models=14),
        _together("macs_per_parameter", low=0.85, high=0.90, models=14),
    ),
)
"""That short profiles predict the total, and which descriptor predicts energy best, is held against data in `predicting`."""
