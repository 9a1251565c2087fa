"""Labelled samples, and how those that come in one piece are divided.

A data set with a single split is divided 80/20, stratified, with a seed of its own: training sees the larger part, everything
is evaluated on the other. The seed is no setting, because results on different test samples could not be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Purpose = Literal["train", "test"]

SPLIT_SEED = 20_240_601
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Labelled samples.

    Attributes:
        items: the samples, decoded when they are asked for.
        labels: one index into `label_names` a sample.
        split: the split they came from.
    """

    items: Sequence[Any]
    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        return len(self.labels)


def holdout(labels: "np.ndarray[Any, Any]") -> "dict[Purpose, np.ndarray[Any, Any]]":
    """Row numbers of the two parts, stratified by label where every class has enough of them."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    counts = np.unique(labels, return_counts=True)[1]
    tests = math.ceil(TEST_SHARE * len(labels))
    stratify = labels if len(labels) and counts.min() >= 2 and tests >= len(counts) else None
    train, test = train_test_split(
        np.arange(len(labels)), test_size=tests, stratify=stratify, random_state=SPLIT_SEED, shuffle=True
    )
    return {"train": np.sort(train), "test": np.sort(test)}


def draw(rows: "np.ndarray[Any, Any]", *, samples: int | None) -> "np.ndarray[Any, Any]":
    """`samples` of the rows in a fixed random order; all of them, shuffled likewise, when there are no more."""
    import numpy as np

    return np.random.default_rng(SPLIT_SEED).permutation(rows)[:samples]
