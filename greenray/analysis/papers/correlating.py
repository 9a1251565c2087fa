"""What a paper found of descriptors and energy, held against what goes together here.

Both sides have an interval by Fisher's z: ours over families, the paper's over its models, which sets the ends of the claim (see
`figures`).
"""

from collections.abc import Iterable

from greenray.analysis.correlations import ENERGY, TRAINING_ENERGY, Matrix
from greenray.analysis.papers.claim import Claim, Held, Paper, circumstances
from greenray.analysis.wording import coefficient


def hold(claims: Iterable[Claim], matrix: Matrix) -> list[Held]:
    """Of training energy where it is known, as in the paper; else of the energy of inference."""
    names = {quantity.name: quantity for quantity in matrix.quantities}
    energy = names.get(TRAINING_ENERGY) or names.get(ENERGY)
    held = []
    for claim in claims:
        if energy is None or (pair := matrix.pair(claim.subject, energy.name)) is None:
            continue
        ours = pair.found["Pearson"]
        about = circumstances(modelled=matrix.modelled, busy=matrix.busy)
        held.append(
            Held(
                claim=claim,
                where=f"{names[claim.subject].label} and {energy.label}{about}",
                families=ours.n,
                value=ours.r,
                low=ours.low,
                high=ours.high,
                basis=ours.why,
            )
        )
    return held


def sentence(held: Held, paper: Paper) -> str:
    """The claim, what is here, and the answer."""
    claim = f"{held.where}: {paper.short} has {held.claim.words}"
    if held.value is None:
        return f"{claim}; there is no correlation here to hold against it ({held.basis}): {held.answer}."
    ends = f"{coefficient(held.ends[0])} to {coefficient(held.ends[1])}" if held.ends else "no interval"
    return f"{claim}; here r {coefficient(held.value)} ({ends}, n = {held.families}): {held.answer}."
