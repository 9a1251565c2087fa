"""Contexts that come and go, in processes of their own: `python -m tests.gpu_check.contexts`; a JSON row for each one.

By the driver's library alone: torch would take seconds for what is to happen several times a second.
"""

import ctypes
import json
import multiprocessing
import sys
import time
from typing import Any

HELD_S, APART_S, TOGETHER = 0.2, 0.1, 2
_BYTES = 256 << 20


def make_one(done: Any) -> None:
    """A context with some memory on the first visible board, then the end of the process."""
    start_s = time.monotonic()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        context, memory = ctypes.c_void_p(), ctypes.c_uint64()
        for code in (
            cuda.cuInit(0),
            cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
            cuda.cuCtxSetCurrent(context),
            cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(_BYTES)),
        ):
            if code:
                done.put({"error": f"CUDA error {code} while a context was made"})
                return
        made_s = time.monotonic()
        time.sleep(HELD_S)
        done.put({"start_s": start_s, "made_s": made_s})
    except OSError as error:
        done.put({"error": str(error)})


def main() -> None:
    """Two at a time until it is killed."""
    spawn = multiprocessing.get_context("spawn")
    done = spawn.SimpleQueue()
    while True:
        making = [spawn.Process(target=make_one, args=(done,), daemon=True) for _ in range(TOGETHER)]
        for process in making:
            process.start()
        for process in making:
            process.join(30)
        while not done.empty():
            row = done.get()
            print(json.dumps(row), flush=True)
            if "error" in row:
                sys.exit(1)
        time.sleep(APART_S)


if __name__ == "__main__":
    main()
