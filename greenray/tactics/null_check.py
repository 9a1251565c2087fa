"""The baseline under another name: its effect is 0, and a measurement that says otherwise is wrong."""

from typing import TYPE_CHECKING

from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class NullCheck(Tactic[Params]):
    """The model as it was loaded, measured as a tactic is."""

    name = "null-check"
    summary = "Changes nothing, to check the measurement: the report says how often its interval holds 0."

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        return model

    def touched(self) -> frozenset[str]:
        return frozenset()
