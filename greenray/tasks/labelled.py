"""Labelled samples: how those that come in one piece are divided, and batches of one shape, ready before anything is measured.

A data set with a single split is divided 80/20, stratified, with a seed of its own: training sees the larger part, everything
is evaluated on the other. The seed is no setting, because results on different test samples could not be compared.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from greenray.tasks.base import Inputs

if TYPE_CHECKING:
    import numpy as np

Purpose = Literal["train", "test"]
Encode = Callable[[Sequence[int]], Inputs]
"""The model's inputs for the samples of these numbers, contiguous, in host memory, of one shape a sample."""

SPLIT_SEED = 20_240_601
TEST_SHARE = 0.2
# Ready inputs are kept up to this many bytes; the others are made again whenever they are needed.
KEPT_BYTES = 2 << 30
PINNED_SHARE, PINNED_MOST_BYTES = 1 / 64, 1 << 30
"""Of the host's memory, and at most: what a cell pins, neither its host nor its neighbours (eight boards' cells, say) can use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Labelled samples.

    Attributes:
        items: the samples, decoded when they are asked for.
        labels: one index into `label_names` a sample.
        split: the split they came from.
        commit: of a hub data set, what the revision stood for when it was fetched.
    """

    items: Sequence[Any]
    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    split: str
    commit: str | None = None

    def __len__(self) -> int:
        return len(self.labels)


def holdout(
    labels: "np.ndarray[Any, Any]", *, share: float = TEST_SHARE, seed: int = SPLIT_SEED
) -> "dict[Purpose, np.ndarray[Any, Any]]":
    """Row numbers of the two parts, of which `test` has that share; stratified by label where every class has enough of them."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    counts = np.unique(labels, return_counts=True)[1]
    tests = math.ceil(share * len(labels))
    stratify = labels if len(labels) and counts.min() >= 2 and tests >= len(counts) else None
    train, test = train_test_split(np.arange(len(labels)), test_size=tests, stratify=stratify, random_state=seed)
    return {"train": np.sort(train), "test": np.sort(test)}


def draw(rows: "np.ndarray[Any, Any]", *, samples: int | None) -> "np.ndarray[Any, Any]":
    """`samples` of the rows in a fixed random order; all of them, shuffled likewise, when there are no more."""
    import numpy as np

    return np.random.default_rng(SPLIT_SEED).permutation(rows)[:samples]


class Batches:
    """Batches of `total` samples in host memory; `kept` are those to run the load with, at least one, pinned for CUDA.

    Every batch is full: a short last one is filled up with samples from the beginning, so that every iteration does the
    same work; whoever counts answers drops the surplus. What may not be pinned any more is no part of the load, for it takes
    longer to copy: it is kept ready as it is.
    """

    def __init__(
        self,
        encode: Encode,
        *,
        total: int,
        batch_size: int,
        pinned: bool,
        kept_bytes: int = KEPT_BYTES,
        pinned_most_bytes: int | None = None,
    ) -> None:
        self._encode = encode
        self._total = total
        self._batch_size = batch_size
        self.count = math.ceil(total / batch_size)
        first = self._make(0)
        self.ready = max(1, min(self.count, kept_bytes // bytes_of(first)))
        """Batches that need not be made again."""
        most_bytes = pinned_bound() if pinned_most_bytes is None else pinned_most_bytes
        kept = max(1, min(self.ready, most_bytes // bytes_of(first))) if pinned else self.ready
        made = (first, *map(self._make, range(1, self.ready)))
        self.kept: tuple[Inputs, ...] = tuple(map(_pin, made[:kept])) if pinned else made
        self._spare = made[kept:]
        self.pinned_bytes = kept * bytes_of(first) if pinned else 0
        self.samples_ready = min(total, self.ready * batch_size)
        """Different samples in the batches that are ready."""

    def __iter__(self) -> Iterator[Inputs]:
        """Every batch of the split, in order."""
        return itertools.chain(self.kept, self._spare, map(self._make, range(self.ready, self.count)))

    def _make(self, index: int) -> Inputs:
        first = index * self._batch_size
        return self._encode([row % self._total for row in range(first, first + self._batch_size)])


def pinned_bound() -> int:
    """Bytes that a cell pins at most."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(PINNED_MOST_BYTES, int(PINNED_SHARE * memory_bytes))


def to_device(inputs: Inputs, device: str) -> Inputs:
    """The inputs on the device; from pinned memory the copy does not wait."""
    return {name: values.to(device, non_blocking=True) for name, values in inputs.items()} if device == "cuda" else inputs


def _pin(inputs: Inputs) -> Inputs:
    return {name: values.pin_memory() for name, values in inputs.items()}


def bytes_of(inputs: Inputs) -> int:
    """Bytes that they take."""
    return sum(values.nbytes for values in inputs.values())
