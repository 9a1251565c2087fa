"""No optimisation: what everything else is compared with."""

from typing import TYPE_CHECKING

from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class Baseline(Tactic[Params]):
    """The checkpoint as it is: fp32, eager, sdpa attention."""

    name = "baseline"
    summary = "The model as it was loaded: fp32, eager, sdpa attention."

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        return model
