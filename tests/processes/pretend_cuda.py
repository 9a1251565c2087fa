"""Preloaded before everything else, makes torch look built for CUDA on a host with a board, and notes who touches the board.

Every entry of `torch._C` that a CUDA build has and that reaches the driver is replaced by one that writes the call, and where
it came from, to the file of TOUCHES. As in the real thing, a process forked after such a call is a bad fork.
"""

import os
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.cuda

_touched_by: int | None = None


def _record(name: str, answer: Any = None) -> Any:
    def touch(*arguments: Any) -> Any:
        global _touched_by
        _touched_by = os.getpid()
        with Path(os.environ["TOUCHES"]).open("a") as touches:
            touches.write(f"{name}\n{''.join(traceback.format_stack(limit=6))}\n")
        return answer

    return touch


def _is_in_bad_fork() -> bool:
    return _touched_by is not None and _touched_by != os.getpid()


_TOUCHES = {
    "_cuda_init": None,
    "_cuda_getDeviceCount": 1,
    "_cuda_getDevice": 0,
    "_cuda_setDevice": None,
    "_cuda_exchangeDevice": 0,
    "_cuda_maybeExchangeDevice": 0,
    "_cuda_getDriverVersion": 13000,
    "_cuda_getCompiledVersion": 13000,
    "_cuda_getArchFlags": "sm_90",
    "_cuda_synchronize": None,
    "_cuda_getCurrentRawStream": 0,
    "_cuda_emptyCache": None,
    "_cuda_memoryStats": {},
    "_cuda_canDeviceAccessPeer": False,
}

for _name, _answer in _TOUCHES.items():
    setattr(torch._C, _name, _record(_name, _answer))
torch._C._cuda_isInBadFork = _is_in_bad_fork
torch.cuda._is_in_bad_fork = _is_in_bad_fork
torch.cuda._get_device_properties = _record("_get_device_properties")
torch.cuda._raw_device_count_nvml = _record("_raw_device_count_nvml", 1)
torch.cuda._cudart = object()
torch.version.cuda = "13.0"
