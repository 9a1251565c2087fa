"""Samples to batches of one shape, kept or made again."""

from collections.abc import Sequence

import torch

from greenray.tasks import labelled
from greenray.tasks.base import Inputs


def encode(rows: Sequence[int]) -> Inputs:
    """Two inputs a sample, by which it can be told; the second of a different type and shape."""
    return {"values": torch.tensor([[row, row + 0.5] for row in rows]), "mask": torch.tensor(list(rows))}


def rows_of(batch: Inputs) -> list[int]:
    assert (batch["values"][:, 0] == batch["mask"]).all()
    return batch["mask"].tolist()


def test_the_last_batch_is_filled_up_from_the_beginning() -> None:
    prepared = labelled.Batches(encode, total=10, batch_size=4, pinned=False)
    assert [rows_of(batch) for batch in prepared] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert (prepared.count, prepared.samples_kept) == (3, 10)


def test_what_does_not_fit_is_made_again() -> None:
    whole = labelled.Batches(encode, total=10, batch_size=4, pinned=False)
    lean = labelled.Batches(encode, total=10, batch_size=4, pinned=False, kept_bytes=1)
    assert (len(whole.kept), len(lean.kept), lean.samples_kept) == (3, 1, 4)
    assert [rows_of(batch) for batch in lean] == [rows_of(batch) for batch in whole]


def test_a_batch_larger_than_the_data_repeats_it() -> None:
    (batch,) = labelled.Batches(encode, total=3, batch_size=8, pinned=False)
    assert rows_of(batch) == [0, 1, 2, 0, 1, 2, 0, 1]
