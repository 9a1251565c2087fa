"""Samples to batches of one shape, kept or made again."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

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
    assert (prepared.count, prepared.ready, prepared.samples_ready) == (3, 3, 10)


def test_what_does_not_fit_is_made_again() -> None:
    whole = labelled.Batches(encode, total=10, batch_size=4, pinned=False)
    lean = labelled.Batches(encode, total=10, batch_size=4, pinned=False, kept_bytes=1)
    assert (len(whole.kept), len(lean.kept), lean.samples_ready) == (3, 1, 4)
    assert [rows_of(batch) for batch in lean] == [rows_of(batch) for batch in whole]


class Pins(TorchFunctionMode):
    """Stands in for a device's page-locked memory, which a host without one cannot have: counts what would be pinned."""

    pinned_bytes = 0

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is torch.Tensor.pin_memory:
            self.pinned_bytes += arguments[0].nbytes
            return arguments[0]
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(("most", "kept"), [(0.1, 1), (2.5, 2), (1000, 3)])
def test_only_so_much_is_pinned_and_the_load_runs_with_that(most: float, kept: int) -> None:
    one = sum(values.nbytes for values in encode(range(4)).values())
    with Pins() as pins:
        batches = labelled.Batches(encode, total=10, batch_size=4, pinned=True, pinned_most_bytes=int(most * one))
        assert [rows_of(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert (len(batches.kept), batches.ready) == (kept, 3)
    assert batches.pinned_bytes == pins.pinned_bytes == kept * one
    assert 0 < labelled.pinned_bound() <= labelled.PINNED_MOST_BYTES


def test_a_batch_larger_than_the_data_repeats_it() -> None:
    (batch,) = labelled.Batches(encode, total=3, batch_size=8, pinned=False)
    assert rows_of(batch) == [0, 1, 2, 0, 1, 2, 0, 1]
