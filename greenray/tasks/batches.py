"""Samples to batches of one shape, made ready for the model before anything is measured."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from greenray.tasks.base import Inputs, TrainingBatch

if TYPE_CHECKING:
    import torch

Encode = Callable[[Sequence[int]], Inputs]
"""The model's inputs for the samples of these numbers, contiguous, in host memory, of one shape a sample."""

# Ready inputs are kept up to this many bytes; the others are made again whenever they are needed.
KEPT_BYTES = 2 << 30
_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Batches in host memory, pinned for CUDA.

    Every batch is full: a short last one is filled up with samples from the beginning, so that every iteration does the
    same work; whoever counts answers drops the surplus.

    Attributes:
        kept: batches to run the load with, at least one.
        total: samples in the split.
    """

    kept: tuple[Inputs, ...]
    encode: Encode
    total: int
    batch_size: int
    pinned: bool

    def __iter__(self) -> Iterator[Inputs]:
        """Every batch of the split, in order."""
        yield from self.kept
        for index in range(len(self.kept), self.count):
            yield self.make(index)

    @property
    def count(self) -> int:
        """Batches in the split."""
        return -(-self.total // self.batch_size)

    @property
    def samples_kept(self) -> int:
        """Different samples in the kept batches."""
        return min(self.total, len(self.kept) * self.batch_size)

    def make(self, index: int) -> Inputs:
        """Make one batch."""
        rows = itertools.cycle(range(self.total))
        inputs = self.encode(list(itertools.islice(rows, index * self.batch_size, (index + 1) * self.batch_size)))
        return pin(inputs) if self.pinned else inputs


def prepare(encode: Encode, *, total: int, batch_size: int, pinned: bool, kept_bytes: int = KEPT_BYTES) -> Batches:
    """Make batches of `total` samples, as many as fit into `kept_bytes`, at least one."""
    empty = Batches(kept=(), encode=encode, total=total, batch_size=batch_size, pinned=pinned)
    kept = [empty.make(0)]
    while len(kept) < empty.count and (len(kept) + 1) * _bytes(kept[0]) <= kept_bytes:
        kept.append(empty.make(len(kept)))
    return replace(empty, kept=tuple(kept))


class Pool:
    """Samples to be drawn from in any order, for training: made ready once if they fit into memory, else at every draw."""

    def __init__(self, encode: Encode, labels: Sequence[int], *, kept_bytes: int = KEPT_BYTES) -> None:
        import torch

        self._encode = encode
        self._labels = torch.tensor(labels)
        self._kept: Inputs | None = None
        if _bytes(encode([0])) * len(labels) <= kept_bytes:
            parts = [encode(range(start, min(start + _CHUNK, len(labels)))) for start in range(0, len(labels), _CHUNK)]
            self._kept = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, rows: "torch.Tensor", *, device: str) -> TrainingBatch:
        """Inputs and labels (rows,) of these samples, on the device."""
        kept = self._kept
        inputs = self._encode(rows.tolist()) if kept is None else {name: values[rows] for name, values in kept.items()}
        return TrainingBatch(
            inputs=to_device(pin(inputs) if device == "cuda" else inputs, device), targets=self._labels[rows].to(device)
        )


def pin(inputs: Inputs) -> Inputs:
    return {name: values.pin_memory() for name, values in inputs.items()}


def to_device(inputs: Inputs, device: str) -> Inputs:
    """The inputs on the device; from pinned memory the copy does not wait."""
    return {name: values.to(device, non_blocking=True) for name, values in inputs.items()} if device == "cuda" else inputs


def _bytes(inputs: Inputs) -> int:
    return sum(values.nbytes for values in inputs.values())
