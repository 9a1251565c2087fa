"""What cells import sooner or later, imported once by the server that they are forked from; how that is made fit to be forked."""

import os
import sys
from typing import Any

from greenray.tasks.registry import preloads

CELL_TARGET = "greenray.cell.main:main"
SETTLE = "greenray.cell.preload:settle"

PRELOAD: tuple[str, ...] = (
    "torch",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch._inductor.fx_passes.joint_graph",
    "torch.ao.quantization",
    "torch.nn.utils.prune",
    "torch.utils.cpp_extension",
    "torch.utils.flop_counter",
    "torch.utils.serialization.config",
    "sympy.physics.units",
    "torchao.quantization",
    "transformers",
    "safetensors.torch",
    "greenray.tactics.registry",
    "greenray.cell.main",
    "greenray.cell.inference",
    "greenray.cell.training",
)


def preload_modules() -> tuple[str, ...]:
    """Modules to import before the first fork: those of every cell, and those of each task."""
    return (*PRELOAD, *preloads())


def settle() -> list[str]:
    """In the server, after the imports: forget what must not be inherited, and tell what cannot be undone.

    No tensor operation may have run and no CUDA call been made: a child would hang in its first operation, for torch's thread
    pool is missing there, and a context does not survive a fork. A Python thread or an open device is the server's to find.

    Returns:
        clauses with "a preloaded module" as subject; empty if the process may be forked.
    """
    # What modules cached about GPUs while none was visible, every child would go by.
    module = sys.modules.get("torch.utils._triton")
    for function in vars(module).values() if module else ():
        if callable(clear := getattr(function, "cache_clear", None)):
            clear()
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    if torch.cuda.is_initialized():
        return ["initialised CUDA"]
    return ["made a CUDA call"] if _child_is_in_bad_fork(torch) else []


def _child_is_in_bad_fork(torch: Any) -> bool:
    """Whether torch, asked in a child, says that its parent made CUDA calls; also those that stop short of a context."""
    child = os.fork()
    if child == 0:
        bad = 1
        try:
            bad = int(torch.cuda._is_in_bad_fork())
        finally:
            os._exit(bad)
    _, status = os.waitpid(child, 0)
    return status != 0
