"""A board that is full, and one that is held by a process which will be killed."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from greenray.cell.main import is_out_of_memory
from tests.gpu_check.jobs.__main__ import told

_LEAST_BYTES = 1 << 20


def fill(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """Asks for more than there is, then takes all there is, then calls libraries that need memory; a row of each, and of after.

    `recognised`: GreenRay calls the error out of memory.
    """
    free, total = torch.cuda.mem_get_info()
    yield {"what": "one request for more than there is", **_tried(lambda: _take(2 * total))}
    kept: list[torch.Tensor] = []
    size, refusal = max(free // 16, _LEAST_BYTES), {}
    while size >= _LEAST_BYTES:
        refusal = _tried(lambda size=size: kept.append(_take(size)))
        if refusal["error"] is not None:
            size //= 2
    yield {"what": "many requests until none is left", "taken_bytes": sum(block.nbytes for block in kept), **refusal}
    if not small:
        yield {"what": "a matrix product on a full board", **_tried(_multiply)}
        yield {"what": "a convolution on a full board", **_tried(_convolve)}
    kept.clear()
    torch.cuda.empty_cache()
    yield {"what": "a matrix product after it was emptied", **_tried(_multiply)}


def touch(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """Computes once; a row with the board that it was."""
    _multiply()
    yield {"what": "touched", "uuid": str(torch.cuda.get_device_properties(0).uuid)}


def hold(*, share: float, small: bool = False) -> Iterator[dict[str, Any]]:
    """Takes that share of the board and multiplies for ever."""
    free, _ = torch.cuda.mem_get_info()
    kept = _take(int(share * free))
    a = torch.randn(64 if small else 8192, 64 if small else 8192, device="cuda")
    torch.cuda.synchronize()
    yield {"what": "holding", "taken_bytes": kept.nbytes + a.nbytes}
    while True:
        a @ a
        torch.cuda.synchronize()


def _take(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def _multiply() -> None:
    a = torch.ones(512, 512, device="cuda")
    (a @ a).sum().item()


def _convolve() -> None:
    torch.nn.functional.conv2d(torch.ones(8, 64, 64, 64, device="cuda"), torch.ones(64, 64, 3, 3, device="cuda")).sum().item()


def _tried(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        call()
    except Exception as error:
        return {"error": told(error), "recognised": is_out_of_memory(error)}
    return {"error": None, "recognised": None}
