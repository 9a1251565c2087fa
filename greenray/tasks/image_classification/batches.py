"""Images to batches of one shape, decoded and processed before anything is measured."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from greenray.cell import runtime
from greenray.tasks.image_classification.data import ImageSet
from greenray.tasks.image_classification.models import Blueprint

if TYPE_CHECKING:
    import torch

# Processed images are kept up to this many bytes; the others are processed again whenever they are needed.
KEPT_BYTES = 2 << 30
_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Batches of shape (batch_size, channels, height, width), float32, in host memory, pinned for CUDA.

    Every batch is full: a short last one is filled up with images from the beginning, so that every iteration does the
    same work; whoever counts answers drops the surplus.

    Attributes:
        kept: batches to run the load with, at least one.
    """

    kept: "tuple[torch.Tensor, ...]"
    images: ImageSet
    plan: Blueprint
    batch_size: int
    pinned: bool

    def __iter__(self) -> "Iterator[torch.Tensor]":
        """Every batch of the split, in order."""
        yield from self.kept
        for index in range(len(self.kept), self.count):
            yield self.make(index)

    @property
    def count(self) -> int:
        """Batches in the split."""
        return -(-len(self.images) // self.batch_size)

    @property
    def samples_kept(self) -> int:
        """Different images in the kept batches."""
        return min(len(self.images), len(self.kept) * self.batch_size)

    def make(self, index: int) -> "torch.Tensor":
        """Decode and process one batch."""
        rows = itertools.cycle(range(len(self.images)))
        chosen = itertools.islice(rows, index * self.batch_size, (index + 1) * self.batch_size)
        values = process(self.images, list(chosen), plan=self.plan)
        return values.pin_memory() if self.pinned else values


def prepare(images: ImageSet, *, plan: Blueprint, batch_size: int, pinned: bool, kept_bytes: int = KEPT_BYTES) -> Batches:
    """Decode and process images into batches, as many as fit into `kept_bytes`, at least one."""
    empty = Batches(kept=(), images=images, plan=plan, batch_size=batch_size, pinned=pinned)
    kept = [empty.make(0)]
    while len(kept) < empty.count and (len(kept) + 1) * kept[0].nbytes <= kept_bytes:
        kept.append(empty.make(len(kept)))
    return replace(empty, kept=tuple(kept))


class Pool:
    """Images to be drawn from in any order, for training: processed once if they fit into memory, else at every draw."""

    def __init__(self, images: ImageSet, *, plan: Blueprint, kept_bytes: int = KEPT_BYTES) -> None:
        import torch

        self._images = images
        self._plan = plan
        self._labels = torch.tensor(images.labels)
        first = process(images, [0], plan=plan)
        fits = first.nbytes * len(images) <= kept_bytes
        chunks = [range(start, min(start + _CHUNK, len(images))) for start in range(0, len(images), _CHUNK)]
        self._pixels = torch.cat([process(images, chunk, plan=plan) for chunk in chunks]) if fits else None

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, rows: "torch.Tensor", *, device: str) -> "tuple[torch.Tensor, torch.Tensor]":
        """Pixels (rows, channels, height, width) and labels (rows,) on the device."""
        pixels = self._pixels[rows] if self._pixels is not None else process(self._images, rows.tolist(), plan=self._plan)
        if device == "cuda":
            pixels = pixels.pin_memory()
        return runtime.to_device(pixels, device), self._labels[rows].to(device)


def process(images: ImageSet, rows: Sequence[int], *, plan: Blueprint) -> "torch.Tensor":
    """The model's view of some images, shape (rows, channels, height, width), float32."""
    mode = "L" if plan.channels == 1 else "RGB"
    pictures = [images.images[row].convert(mode) for row in rows]
    values: torch.Tensor = plan.processor(images=pictures, return_tensors="pt")["pixel_values"]
    return values.contiguous()
