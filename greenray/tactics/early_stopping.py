"""Training that ends when further epochs cost more joules than they are worth.

Holding samples out and ending when their accuracy no longer rises is old (Prechelt 1998, "Early Stopping - But When?"); the rule
here, which weighs accuracy against energy, is GreenRay's own: over the last `patience` epochs the best validation accuracy must
have risen by `least_gain` points for every 1 % that they added to the energy spent before them, or training ends. What an epoch
must bring becomes less as energy adds up, as it does in a learning curve: with the default, 2 points for doubling the energy.

It is decided on samples held out of those to learn from, never on the test split: that would be choosing by the figure that is
reported. Held-out samples are not learnt from, and answering them is part of each epoch's window, so both are in the tactic's
price. The learning rate follows the schedule of all epochs that were asked for. Where energy is unknown nothing is decided by
time or epochs in its place: the cell ends as unsupported.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from greenray.errors import Unsupported
from greenray.tactics.base import Context, Params, Progress, Tactic

if TYPE_CHECKING:
    from torch import nn

_KEPT = 200  # epochs of the trace in the evidence, evenly chosen


class EarlyStoppingParams(Params):
    """When it ends.

    Attributes:
        patience: epochs that are looked at together.
        least_gain: points of validation accuracy that they must bring for every 1 % more energy.
        validation_share: share of the samples to learn from that is held out, stratified, always the same samples.
    """

    patience: int = Field(default=5, ge=1, le=10_000)
    least_gain: float = Field(default=0.02, gt=0.0, le=100.0)
    validation_share: float = Field(default=0.1, gt=0.0, le=0.5)


class EarlyStopping(Tactic[EarlyStoppingParams]):
    """Asks the worker for the energy of the epochs after each of them."""

    name = "early-stopping"
    summary = "Ends training when the last epochs brought too little validation accuracy for the energy that they cost."
    needs = "a training experiment whose energy can be read"
    source = "https://doi.org/10.1007/3-540-49430-8_3"
    Params = EarlyStoppingParams

    def check(self, context: Context) -> None:
        if not context.training:
            raise Unsupported("early-stopping ends training: use it in a training experiment")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        self._course: list[Progress] = []
        self._ended: str | None = None
        return model

    def held_out_share(self) -> float:
        return self.params.validation_share

    def is_enough(self, progress: Progress) -> bool:
        if progress.energy_j is None:
            raise Unsupported(
                f"early-stopping weighs accuracy against joules, and those of the epochs are unknown ({progress.unknown}): "
                "give fewer epochs instead"
            )
        self._course.append(progress)
        before = [then for then in self._course if then.epoch <= progress.epoch - self.params.patience]
        if not before or not before[-1].energy_j or progress.epoch == progress.epochs:
            return False
        more = 100 * (progress.energy_j / before[-1].energy_j - 1)
        gained = 100 * (max(one.accuracy for one in self._course) - max(one.accuracy for one in before))
        if gained >= self.params.least_gain * more:
            return False
        epochs = progress.epoch - before[-1].epoch
        self._ended = f"{epochs} more epochs brought {gained:.2f} points of validation accuracy for {more:.1f} % more energy"
        return True

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        if not self._course:
            return {}
        last, step = self._course[-1], -(-len(self._course) // _KEPT)
        return {
            "epochs": last.epoch,
            "epochs_asked": last.epochs,
            "ended_because": self._ended,
            "energy_j": last.energy_j,
            "validation_share": self.params.validation_share,
            "validation_accuracy": [[one.epoch, one.accuracy] for one in self._course[::step]],
        }

    def touched(self) -> frozenset[str]:
        return frozenset()
