"""Every tactic for boards on a real one, where there is one: that it runs, changes something, and stays near the baseline."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from greenray.errors import Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain
from tests.tactics.nets import answers

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")]

WIDE = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512, "patch_size": 4}
CHAINS: list[tuple[tuple[str, dict[str, Any]], ...]] = [
    (("tf32", {}),),
    (("bf16", {}),),
    (("fp16", {}),),
    (("autocast", {}),),
    (("autocast", {"dtype": "fp16"}),),
    (("channels-last", {}),),
    (("cudnn-benchmark", {}),),
    (("attention", {}),),
    *((("bf16", {}), ("attention", {"implementation": "sdpa", "kernel": kernel})) for kernel in ("mem_efficient", "math")),
    (("bf16", {}), ("attention", {"implementation": "flash"})),
    *((("compile", {"mode": mode}),) for mode in ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")),
    (("bf16", {}), ("compile", {})),
    (("int8-dynamic", {}), ("compile", {})),
    (("bf16", {}), ("int8-dynamic", {}), ("compile", {})),
    (("bf16", {}), ("int8-weight-only", {}), ("compile", {})),
    (("int4-weight-only", {}),),
    (("bf16", {}), ("int4-weight-only", {}), ("compile", {})),
    (("fp8-dynamic", {}),),
    (("bf16", {}), ("fp8-dynamic", {"granularity": "row"}), ("compile", {})),
]


def on_board() -> tuple[Any, Context]:
    """The baseline as a cell sets it up: a vision transformer in float32, and a batch of 32 images."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    config = AutoConfig.for_model("vit", image_size=32, num_channels=3, num_labels=16, **WIDE)
    model = AutoModelForImageClassification.from_config(config).eval().to("cuda")
    return model, Context(device="cuda", example={"pixel_values": torch.randn(32, 3, 32, 32, device="cuda")})


@pytest.mark.parametrize("steps", CHAINS, ids=lambda steps: "+".join("_".join((n, *map(str, p.values()))) for n, p in steps))
def test_on_a_real_board(steps: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    model, context = on_board()
    before = answers(model, context).float()
    chain = Chain(steps)
    try:
        chain.check(Context(device="cuda"))
    except Unsupported as error:
        pytest.skip(str(error))
    with torch.inference_mode():
        model = chain.apply(model, context)
    for _ in range(3):  # CUDA graphs are recorded after a first run
        after = answers(model, context).float().clone()
    torch.cuda.synchronize()
    evidence = chain.evidence(model)
    assert set(evidence) == {name for name, _ in steps}
    assert torch.isfinite(after).all()
    assert (after - before).abs().max() < 0.5 * before.abs().max()
    quantised = [found for found in evidence.values() if "weights_converted" in found]
    assert all(found["kernels_device"] == "cuda" for found in quantised)
