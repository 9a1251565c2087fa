"""What the tests of tactics share: a model, a batch, a device that plays CUDA, and switches that are put back."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from greenray.tactics.base import Context
from greenray.tactics.registry import Chain
from tests.support.plugins import board_arithmetic, pretend_cuda
from tests.support.running import PLUGINS
from tests.tactics.nets import Net

KERNELS = ("flash", "mem_efficient", "cudnn", "math")


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def context() -> Context:
    return Context(device="cpu", example={"pixel_values": torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))})


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, context: Context) -> Iterator[Context]:
    """The context on a board of compute capability 9.0 that computes on the processor, in this process."""
    monkeypatch.setenv(pretend_cuda.BOARDS, "GPU-11111111-0000-0000-0000-000000000001")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")  # as a build with CUDA has it: torchao asks
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: None)
    monkeypatch.syspath_prepend(PLUGINS)  # where a cell finds what it imports
    monkeypatch.setattr(torch.nn.Module, "to", torch.nn.Module.to)  # which is replaced, and then put back
    before = dict(vars(torch.cuda))
    pretend_cuda.install()
    mode = torch.overrides._get_current_function_mode()
    assert mode is not None
    try:
        with board_arithmetic.played():
            yield Context(device="cuda", example=context.example)
    finally:
        mode.__exit__(None, None, None)
        for name, value in before.items():
            setattr(torch.cuda, name, value)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[[Chain, str], None]:
    """Checks a chain for a device, as a cell does; on cuda `compile` finds Triton, as in a build with CUDA."""

    def checked(chain: Chain, device: str) -> None:
        with monkeypatch.context() as patched:
            if device == "cuda":
                patched.setattr("torch.utils._triton.has_triton_package", lambda: True)
            chain.check(Context(device=device))

    return checked


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    flags = {
        (torch.backends.cuda.matmul, "allow_tf32"): torch.backends.cuda.matmul.allow_tf32,
        (torch.backends.cudnn, "allow_tf32"): torch.backends.cudnn.allow_tf32,
        (torch.backends.cudnn, "benchmark"): torch.backends.cudnn.benchmark,
        (torch._functorch.config, "enable_autograd_cache"): torch._functorch.config.enable_autograd_cache,
    }
    yield
    torch._dynamo.reset()
    counters.clear()
    torch.set_float32_matmul_precision(precision)
    for (where, name), value in flags.items():
        setattr(where, name, value)
    for kernel in KERNELS:
        getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(True)
