"""What a power limit asks of the worker, and what the cell itself says."""

import pytest
from pydantic import ValidationError
from torch import nn

from greenray.errors import Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build


@pytest.mark.parametrize(
    ("chain", "watts"),
    [
        ([("power-limit", {})], 0.7 * 400),
        ([("power-limit", {"share": 0.5})], 200),
        ([("power-limit", {"watts": 250, "share": 0.5})], 250),
        ([("bf16", {}), ("power-limit", {"share": 0.5})], 200),
        ([("bf16", {})], None),
    ],
)
def test_the_limit_is_a_share_of_the_default_or_watts(chain: list[tuple[str, dict[str, float]]], watts: float | None) -> None:
    asked = Chain(chain).board_power_limit_w(default_w=400)
    assert asked == (None if watts is None else pytest.approx(watts))
    assert Chain(chain).changes_hardware is (watts is not None)


@pytest.mark.parametrize("params", [{"watts": 0}, {"share": 1.2}, {"share": 0}])
def test_a_limit_of_nothing_or_above_the_default_is_refused(params: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        build("power-limit", params)


def test_the_cell_changes_nothing() -> None:
    model, tactic = nn.Linear(2, 2), build("power-limit")
    tactic.check(Context(device="cuda"))
    assert tactic.apply(model, Context(device="cuda")) is model
    with pytest.raises(Unsupported, match=r"devices: \[cuda\]"):
        tactic.check(Context(device="cpu"))
