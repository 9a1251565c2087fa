"""Batches on their way to a GPU while it works on the one before."""

from typing import Any

from greenray.tasks.base import Inputs


class DoubleBuffer:
    """Copies batches of one shape to the GPU on a stream of its own, into two places in turn.

    What a call returns is overwritten by the second call after it, once all that was asked of the GPU in between is done. From
    pinned memory nothing waits on the host: neither the copy for the work before it, nor the work for the copy.
    """

    def __init__(self) -> None:
        import torch

        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._places: list[Inputs | None] = [None, None]
        self._free: list[Any] = [None, None]
        self._turn = 0

    def __call__(self, inputs: Inputs) -> Inputs:
        """The batch on the GPU, for what is asked of the current stream from now on."""
        import torch

        working, turn = torch.cuda.current_stream(), self._turn
        self._turn = 1 - turn
        # All work on the other place has been asked for by now.
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(working)
        self._free[1 - turn] = done
        with torch.cuda.stream(self._stream):
            if (place := self._places[turn]) is None:
                with torch.inference_mode(mode=False):  # else nothing but inference could write there
                    place = {name: torch.empty_like(values, device="cuda") for name, values in inputs.items()}
                self._places[turn] = place
            if (free := self._free[turn]) is not None:
                self._stream.wait_event(free)
            for name, values in inputs.items():
                place[name].copy_(values, non_blocking=True)
        working.wait_stream(self._stream)
        return place
