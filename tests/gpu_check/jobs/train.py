"""Training steps that differ in where pixels and labels come from."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from tests.gpu_check.jobs.models import BATCH, build, pictures
from tests.gpu_check.jobs.serve import measured

SUPPLIES = ("labels block", "labels pinned", "on the board")
_SAMPLES = 1024


def train(*, models: Sequence[str], seconds: float, small: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each model and supply; fp32, AdamW, the batch size of serving."""
    torch.set_float32_matmul_precision("highest")
    for name in models:
        model = build(name, small=small).to("cuda").train()
        batch = 4 if small else BATCH[name]
        pixels = pictures(model, 4 * batch if small else _SAMPLES)
        labels = torch.randint(10, (len(pixels),), generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        for supply in SUPPLIES:
            draw = supplies(supply, pixels, labels, batch=batch)

            def step(draw: Callable[[], Any] = draw, model: Any = model, optimizer: Any = optimizer) -> int:
                images, targets = draw()
                loss = torch.nn.functional.cross_entropy(model(pixel_values=images).logits, targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                return 1

            for window in measured(paced(step), seconds=seconds, windows=1, warm=True):
                yield {"model": name, "supply": supply, "batch_size": batch, **window}


def supplies(supply: str, pixels: torch.Tensor, labels: torch.Tensor, *, batch: int) -> Callable[[], Any]:
    """Draws a batch of pixels and labels, on the board.

    `labels block`: pixels go by way of pinned memory, labels by a copy that waits; `labels pinned`: both go without waiting;
    `on the board`: both lie there and are gathered there.
    """
    if supply == "on the board":
        pixels, labels = pixels.to("cuda"), labels.to("cuda")
        return lambda: (lambda rows: (pixels[rows], labels[rows]))(torch.randint(len(labels), (batch,), device="cuda"))

    def draw() -> Any:
        rows = torch.randint(len(labels), (batch,))
        images = pixels[rows].pin_memory().to("cuda", non_blocking=True)
        if supply == "labels block":
            return images, labels[rows].to("cuda")
        return images, labels[rows].pin_memory().to("cuda", non_blocking=True)

    return draw


def paced(step: Callable[[], int], *, every_s: float = 0.25) -> Callable[[], int]:
    """Steps that are waited for only every so often, as at the end of an epoch."""

    def turn() -> int:
        until_s, count = time.monotonic() + every_s, 0
        while time.monotonic() < until_s:
            count += step()
            if count % 16 == 0:  # or the queue would grow far beyond the time that is measured
                torch.cuda.current_stream().synchronize()
        torch.cuda.synchronize()
        return count

    return turn
