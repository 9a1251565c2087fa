"""Training samples drawn in any order: from host memory, from a device, or by processes of their own."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import torch

from greenray.tasks.base import Inputs, TrainingBatch
from greenray.tasks.training_data import DEVICE_SHARE, Pool, shape_of_loader

SAMPLES = 600
LABELS = [row % 3 for row in range(SAMPLES)]
BYTES = SAMPLES * (8 + 8)


def encode(rows: Sequence[int]) -> Inputs:
    """Two inputs a sample, by which it can be told, of different types; and by whom they were made."""
    return {"values": torch.tensor([[row, row + 0.5] for row in rows]), "maker": torch.full((len(rows),), os.getpid())}


class OnProcessor(torch.overrides.TorchFunctionMode):
    """What names the device cuda happens on the processor; notes the copies that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = {"device": "cpu"} | (keywords or {}) if (keywords or {}).get("device") == "cuda" else keywords or {}
        if function is torch.Tensor.to and "cuda" in arguments:
            self.copies += 1
            return arguments[0]
        return function(*arguments, **keywords)


@contextmanager
def device(monkeypatch: pytest.MonkeyPatch, *, free_bytes: int) -> Iterator[OnProcessor]:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (free_bytes, 80 << 30))
    with OnProcessor() as mode:
        yield mode


def rows_of(batch: TrainingBatch) -> list[int]:
    rows: list[int] = batch.inputs["values"][:, 0].int().tolist()
    assert batch.targets.tolist() == [LABELS[row] for row in rows]
    return rows


def order(*, seed: int = 0) -> torch.Tensor:
    return torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(seed)).view(20, 30)


def test_a_pool_that_does_not_fit_draws_the_same() -> None:
    rows = torch.tensor([7, 599, 1, 1])
    for pool in (Pool(encode, LABELS), Pool(encode, LABELS, kept_bytes=1)):
        assert (len(pool), pool.where) == (SAMPLES, "host")
        assert rows_of(pool.batch(rows)) == rows.tolist()
        assert [rows_of(batch) for batch in pool.batches(order())] == order().tolist()


def test_what_fits_lives_on_the_device_and_no_step_copies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with device(monkeypatch, free_bytes=int(BYTES / DEVICE_SHARE) + 1) as mode:
        pool = Pool(encode, LABELS, device="cuda")
        assert (pool.where, mode.copies) == ("device", 3)  # both inputs, and the labels
        drawn = iter(pool.batches(order()))
        assert mode.copies == 4  # the order of an epoch
        assert [rows_of(batch) for batch in drawn] == order().tolist()


@pytest.mark.parametrize("kept_bytes", [1 << 20, 1])
def test_what_does_not_fit_is_drawn_by_processes_of_the_cell(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    state = torch.random.get_rng_state()
    with device(monkeypatch, free_bytes=int(BYTES / DEVICE_SHARE) - 1):
        pool = Pool(encode, LABELS, device="cuda", kept_bytes=kept_bytes)
        assert pool.where == "workers"
        makers: set[int] = set()
        for epoch in range(2):
            batches = list(pool.batches(order(seed=epoch)))
            assert [rows_of(batch) for batch in batches] == order(seed=epoch).tolist()
            makers |= {int(batch.inputs["maker"][0]) for batch in batches}
        children = {child.pid for child in psutil.Process().children()}
    if kept_bytes > 1:
        assert makers == {os.getpid()}  # made ready once; others only draw them
    else:
        assert makers <= children
        assert len(makers) == min(8, torch.get_num_threads())  # the same ones in every epoch
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("batch_bytes", "threads", "shape"),
    [(1 << 20, 16, (8, 2)), (1 << 20, 2, (2, 2)), (100 << 20, 16, (8, 1)), (300 << 20, 16, (3, 1)), (4 << 30, 16, (1, 1))],
)
def test_batches_made_beforehand_take_bounded_memory(batch_bytes: int, threads: int, shape: tuple[int, int]) -> None:
    """Batches of 256 pictures have 150 MB: sixteen of them would fill the shared memory of a container."""
    assert shape_of_loader(batch_bytes, threads=threads, most_bytes=1 << 30) == shape


def test_processes_are_started_by_what_their_batches_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenray.tasks.training_data.pinned_bound", lambda: 30 * 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with device(monkeypatch, free_bytes=0):
        pool = Pool(encode, LABELS, device="cuda", kept_bytes=1)
        makers = {int(batch.inputs["maker"][0]) for batch in pool.batches(order())}
    assert len(makers) == 1
