"""A CUDA device that computes on the processor: cells of `device: cuda` run here, on the board that CUDA would give them.

Which board that is follows CUDA's rules from CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER. Further variables, with UUIDs between
commas, tell about the boards: BOARDS are all of them in the order of NVML, the last the fastest; LIES answer with the UUID of
another; TURNS do so in cells and not yet in the probe before them; FALLS are lost at the end of the first cell on them. What
else goes wrong with drivers and boards: `pretend_fault.py`. How long its work takes, and that nobody waits for it unasked:
`pretend_device.py`.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BOARDS, LIES, TURNS, FALLS = (f"GREENRAY_TEST_{name}" for name in ("BOARDS", "LIES", "TURNS", "FALLS"))
CONTROL = "GREENRAY_TEST_CONTROL"
LIE = "ffffffff-0000-0000-0000-000000000000"


def visible_boards() -> list[str]:
    """UUIDs in CUDA's order; [] when CUDA_VISIBLE_DEVICES leaves none."""
    boards = os.environ[BOARDS].split(",")
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        boards.reverse()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return boards
    found: list[str] = []
    for entry in wanted.split(","):
        fits = [uuid for uuid in boards if entry.startswith("GPU-") and uuid.startswith(entry)]
        if entry.isdecimal() and int(entry) < len(boards):
            fits = [boards[int(entry)]]
        if len(fits) != 1:
            break
        found += fits
    return found


def current_uuid() -> str:
    """What CUDA says of its first device, without `GPU-`."""
    uuid = visible_boards()[0]
    in_probe = "greenray-probe-" in os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    lies = uuid in os.environ.get(LIES, "") or (uuid in os.environ.get(TURNS, "") and not in_probe)
    return LIE if lies else uuid.removeprefix("GPU-")


def end() -> None:
    """The last call of a cell: the end of a board that falls."""
    import pretend_fault
    import torch

    uuid = visible_boards()[0]
    pretend_fault.strike(torch, uuid)
    if uuid in os.environ.get(FALLS, ""):
        with Path(os.environ[CONTROL]).open("a") as control:
            control.write(f"{os.environ[BOARDS].split(',').index(uuid)}.lost_from={time.monotonic()}\n")


def install() -> Any:
    """Makes this process's torch believe in it, in this thread; to be called in the process of a cell or a probe.

    Returns what further threads enter: `with install()(): ...`
    """
    import pretend_device
    import pretend_fault
    import torch
    from torch.overrides import TorchFunctionMode

    class OnProcessor(TorchFunctionMode):
        """Every call that names the device cuda is made on the processor; nothing is pinned."""

        def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
            if function is torch.Tensor.pin_memory:
                return arguments[0]
            if function is torch.Tensor.record_stream:
                return None
            pretend_device.asked(function, arguments, keywords or {})
            arguments = tuple(_here(value) for value in arguments)
            return function(*arguments, **{name: _here(value) for name, value in (keywords or {}).items()})

    # Asked only by builds of torch that have CUDA.
    torch.cuda.device_count = lambda: len(visible_boards())
    torch.cuda.is_current_stream_capturing = lambda: False
    torch.cuda.is_available = lambda: bool(visible_boards()) and pretend_fault.OLD_DRIVER not in os.environ
    pretend_fault.install(torch, visible=visible_boards)
    torch.cuda.get_device_properties = lambda *_: SimpleNamespace(uuid=current_uuid())
    torch.cuda.get_device_capability = lambda *_: (9, 0)
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()  # Dynamo keeps it while it traces
    torch.cuda.set_rng_state = lambda *_: None
    for name in ("get_rng_state", "set_rng_state"):  # `fork_rng` asks the module of the device's type, which is cpu here
        setattr(torch.cpu, name, getattr(torch.cuda, name))
    pretend_device.install(last_call=end)
    OnProcessor().__enter__()
    return OnProcessor


def _here(value: Any) -> Any:
    import torch

    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.startswith("cuda") else value
