"""A lower power limit of the board, for as long as the cell runs.

The cell touches no setting of a board: its worker reads here what is wanted, sets it before the cell's process starts and puts it
back afterwards (`greenray.gpu.power_limit`).
"""

from typing import TYPE_CHECKING

from pydantic import Field

from greenray.errors import Unsupported
from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class PowerLimitParams(Params):
    """`share` is of the board's default limit; `watts`, where given, is the limit itself."""

    watts: float | None = Field(default=None, gt=0, le=100_000)
    share: float = Field(default=0.7, gt=0, le=1)


class PowerLimit(Tactic[PowerLimitParams]):
    """The board's management limit, which its driver holds by lowering clocks."""

    name = "power-limit"
    summary = "Lowers the board's power limit while the cell runs, and puts it back whatever happens."
    devices = ("cuda",)
    needs = "`allow_hardware_changes: true` in the config, and a worker that may set limits (root)"
    source = "https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceCommands.html"
    changes_hardware = True
    Params = PowerLimitParams

    def board_power_limit_w(self, *, default_w: float) -> float | None:
        return self.params.watts if self.params.watts is not None else self.params.share * default_w

    def check(self, context: Context) -> None:
        if context.device != "cuda":
            raise Unsupported("power-limit sets the limit of a board: measure it with `devices: [cuda]`")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        return model

    def touched(self) -> frozenset[str]:
        return frozenset()
