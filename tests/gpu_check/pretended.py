"""Jobs where the boards are simulated: `python -m tests.gpu_check.pretended NAME PARAMS` computes on the processor.

What torch says of its device, its streams and its events comes from `tests/support/plugins/pretend_cuda.py`; a small memory
that can be full is added here, and what the compiler asks for. Unless `pretend_device` is told how long work takes, nothing runs
beside anything else, and loops differ by nothing but noise.
"""

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import pretend_cuda
import torch
from torch.overrides import TorchFunctionMode

MEMORY_BYTES = 64 << 20


class _Memory(TorchFunctionMode):
    """`torch.empty` on the device takes from MEMORY_BYTES, which nobody gives back before `empty_cache`."""

    taken = 0

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if function is torch.empty and str(keywords.get("device", "")).startswith("cuda") and isinstance(arguments[0], int):
            if self.taken + arguments[0] > MEMORY_BYTES:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {arguments[0]} bytes. (pretended)")
            self.taken += arguments[0]
        return function(*arguments, **keywords)


def install() -> None:
    """Makes this process's torch believe in a board with streams and memory."""
    pretend_cuda.install()
    memory = _Memory()
    memory.__enter__()
    # The compiler asks for these, and then compiles for the processor.
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    told = SimpleNamespace(uuid=uuid, name="pretended", gcnArchName="none", major=9, minor=0)
    torch.cuda.get_device_properties = lambda *_: told
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda *_: None
    torch.accelerator.is_available = lambda: False
    torch.cuda.mem_get_info = lambda *_: (MEMORY_BYTES - memory.taken, MEMORY_BYTES)
    torch.cuda.empty_cache = lambda: setattr(memory, "taken", 0)


if __name__ == "__main__":
    from tests.gpu_check.jobs.__main__ import JOBS, main

    # First, for a build of torch with CUDA asks the device at some imports, and there is none.
    importlib.import_module(JOBS[sys.argv[1]])
    if "int8" in sys.argv[2]:
        importlib.import_module("torchao.quantization")
    install()
    sys.exit(main(*sys.argv[1:3]))
