"""The process that makes a real board work, on command: one JSON request a line on standard input, one answer a line.

    {"do": "context"}                                      a context, no work
    {"do": "model"}                                        86 million fp32 parameters loaded and called once, no work
    {"do": "steady"}                                       matrix products without a pause, until the next request
    {"do": "bursts", "period_s": 0.7, "duty": 0.4}         the same number of products every period, a pause after them
    {"do": "gpu-bound", "seconds": 1}                      matrix products, synchronised every few milliseconds: their rate
    {"do": "launch-bound", "seconds": 1}                   a tiny model at batch 1, synchronised every call: its rate

It ends with its standard input.
"""

import json
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

SIZE = 8192  # of the matrices: 1.4 ms a product on an H200 in half precision, 20 ms on a T4
_PIECE_S = 0.01  # products are queued in pieces of about this length


class Player:
    """Products and models on device 0; `inbox` holds the requests that came meanwhile."""

    def __init__(self, inbox: "queue.Queue[dict[str, Any]]") -> None:
        self.inbox = inbox
        self._matrices: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._product_s = 0.0
        self._model: nn.Module | None = None
        self._tiny: tuple[nn.Module, torch.Tensor] | None = None

    def answer(self, request: Mapping[str, Any], reply: Callable[..., None]) -> None:
        """Does what is asked; modes that last go on until something else is in the inbox."""
        kind = request["do"]
        if kind == "context":
            torch.zeros(1, device="cuda")
            torch.cuda.synchronize()
            reply(uuid=str(torch.cuda.get_device_properties(0).uuid))
        elif kind == "model":
            self._load_model()
            reply()
        elif kind == "steady":
            self._steady(reply)
        elif kind == "bursts":
            self._bursts(reply, period_s=request["period_s"], duty=request["duty"])
        elif kind == "gpu-bound":
            self._prepare()
            piece = self._pieces(_PIECE_S)
            reply(rate=_rate(lambda: self._multiply(piece), seconds=request["seconds"]) * piece)
        elif kind == "launch-bound":
            reply(rate=_rate(self._call_tiny(), seconds=request["seconds"]))
        else:
            reply(error=f"unknown request {kind}")

    def _prepare(self) -> None:
        """The matrices, and how long one product takes when the board is warm."""
        if self._matrices is not None:
            return
        made = torch.Generator(device="cuda").manual_seed(0)
        left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.float16, generator=made) for _ in range(2))
        self._matrices = left, right, torch.empty_like(left)
        self._multiply(3)
        torch.cuda.synchronize()
        start_s, count = time.monotonic(), 0
        while time.monotonic() - start_s < 0.5:
            self._multiply(4)
            torch.cuda.synchronize()
            count += 4
        self._product_s = (time.monotonic() - start_s) / count

    def _multiply(self, count: int) -> None:
        assert self._matrices is not None
        left, right, result = self._matrices
        for _ in range(count):
            torch.mm(left, right, out=result)

    def _pieces(self, seconds: float) -> int:
        """Products that take about so long."""
        return max(1, round(seconds / self._product_s))

    def _steady(self, reply: Callable[..., None]) -> None:
        self._prepare()
        piece = self._pieces(_PIECE_S)
        queued: deque[Any] = deque()
        told = False
        while self.inbox.empty():
            self._multiply(piece)
            event = torch.cuda.Event()
            event.record()
            queued.append(event)
            # Always one piece ahead, so that the board never waits for the next.
            if len(queued) > 2:
                queued.popleft().synchronize()
            if not told:
                reply(product_s=self._product_s)
                told = True
        torch.cuda.synchronize()

    def _bursts(self, reply: Callable[..., None], *, period_s: float, duty: float) -> None:
        """Counted, not timed: every period then holds the same work, and as good as the same energy."""
        self._prepare()
        count = self._pieces(period_s * duty)
        reply(product_s=self._product_s, products=count)
        start_s, turn = time.monotonic(), 0
        while self.inbox.empty():
            self._multiply(count)
            torch.cuda.synchronize()
            # On a fixed grid; a burst that overran its period leaves out the ones it missed.
            turn = max(turn + 1, int((time.monotonic() - start_s) / period_s) + 1)
            time.sleep(max(0.0, start_s + turn * period_s - time.monotonic()))

    def _load_model(self) -> None:
        if self._model is None:
            layers = (nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, norm_first=True) for _ in range(12))
            self._model = nn.Sequential(*layers).to("cuda").eval()
            with torch.inference_mode():
                self._model(torch.randn(8, 197, 768, device="cuda"))
        torch.cuda.synchronize()

    def _call_tiny(self) -> Callable[[], object]:
        if self._tiny is None:
            layers = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
            self._tiny = nn.Sequential(*layers).to("cuda").eval(), torch.randn(1, 64, device="cuda")
        model, one = self._tiny
        return lambda: model(one)


def _rate(step: Callable[[], object], *, seconds: float) -> float:
    """Synchronised steps a second."""
    with torch.inference_mode():
        step()
        torch.cuda.synchronize()
        start_s, count = time.monotonic(), 0
        while (now_s := time.monotonic()) - start_s < seconds:
            step()
            torch.cuda.synchronize()
            count += 1
        return count / (now_s - start_s)


def _listen(inbox: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put({"do": "end"})


def main() -> None:
    """Answers requests until there are no more."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer

    def reply(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    player = Player(inbox)
    while (request := inbox.get())["do"] != "end":
        try:
            player.answer(request, reply)
        except Exception as error:  # a failed section must not end the check
            reply(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main()
