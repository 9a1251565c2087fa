"""torch.compile on small models: what its evidence counts, and modes that change nothing."""

import pytest
import torch
from torch import Tensor, nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import build
from tests.tactics.nets import COMPILES_AS_PLAYED, Net, answers


class TestCompile:
    def test_counts_one_graph_and_computes_the_same(self, net: nn.Module, context: Context) -> None:
        before = answers(net, context)
        tactic = build("compile")
        tactic.check(context)
        keys = list(net.state_dict())
        model = tactic.apply(net, context)
        torch.testing.assert_close(answers(model, context), before, rtol=1e-4, atol=1e-5)
        evidence = tactic.evidence(model)
        assert (evidence["graphs"], evidence["graph_breaks"], evidence["recompiles"]) == (1, 0, 0)
        assert list(model.state_dict()) == keys

    def test_a_new_shape_moves_the_compilation_count(self, net: nn.Module, context: Context) -> None:
        tactic = build("compile")
        model = tactic.apply(net, context)
        count = tactic.compilations()
        answers(model, context)
        assert tactic.compilations() == count
        model(pixel_values=context.example["pixel_values"][:7])
        assert tactic.compilations() > count
        assert tactic.evidence(model)["recompiles"] == 1

    def test_graph_breaks_are_counted_and_fullgraph_refuses_them(self, context: Context) -> None:
        class Breaks(Net):
            def forward(self, pixel_values: Tensor) -> Tensor:
                hidden = self.conv(pixel_values)
                torch._dynamo.graph_break()
                return self.head(self.body(hidden.flatten(1)))

        tactic = build("compile")
        model = tactic.apply(Breaks().eval(), context)
        assert tactic.evidence(model)["graph_breaks"] == 1
        assert tactic.evidence(model)["graphs"] == 2
        torch._dynamo.reset()  # else the code compiled above is found again
        with pytest.raises(Unsupported, match="fullgraph"):
            build("compile", {"fullgraph": True}).apply(Breaks().eval(), context)

    def test_code_that_dynamo_skips_is_not_applied(self, context: Context) -> None:
        class Skipped(nn.Module):
            @torch.compiler.disable
            def forward(self, pixel_values: Tensor) -> Tensor:
                return pixel_values.flatten(1)

        tactic = build("compile")
        model = tactic.apply(Skipped().eval(), context)
        with pytest.raises(NotApplied, match="no graph"):
            tactic.evidence(model)


def test_cuda_graphs_are_no_mode_of_a_cpu() -> None:
    with pytest.raises(Unsupported, match="mode: default"):
        build("compile", {"mode": "reduce-overhead"}).check(Context(device="cpu"))


@pytest.mark.parametrize("mode", ["max-autotune", "max-autotune-no-cudagraphs"])
def test_a_mode_is_applied_where_it_tunes_something_whatever_is_cached(mode: str, context: Context) -> None:
    """torch 2.11 chooses between two ways to add a bias on the CPU, 2.13 has nothing to choose from there."""
    found = []
    for _ in range(2):  # the second finds what the first has compiled
        torch._dynamo.reset()
        tactic = build("compile", {"mode": mode})
        tactic.check(context)
        model = tactic.apply(Net().eval(), context)
        answers(model, context)
        try:
            found.append((tactic.evidence(model)["autotuned"], "applied"))
        except NotApplied as error:
            found.append((error.evidence["autotuned"], str(error)))
    assert found[0] == found[1]
    tuned, verdict = found[0]
    assert verdict == ("applied" if tuned else f"{mode} found nothing to tune: the code is that of mode: default")


@COMPILES_AS_PLAYED
def test_without_a_recorded_graph_reduce_overhead_is_not_applied(
    net: nn.Module, cuda: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board is played on the processor, where inductor has nothing to record, as on a board where it has to skip."""
    monkeypatch.setattr(torch._C, "_cuda_cudaCachingAllocator_is_enabled", lambda: True, raising=False)
    tactic = build("compile", {"mode": "reduce-overhead"})
    model = tactic.apply(net, cuda)
    for _ in range(3):
        answers(model, cuda)
    with pytest.raises(NotApplied, match="no CUDA graph") as caught:
        tactic.evidence(model)
    assert caught.value.evidence["cudagraph_skips"] >= 1
