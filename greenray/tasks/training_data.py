"""Training samples to be drawn from in any order, where drawing them holds up the device least.

Ready inputs and labels lie on the device if they take no more than a part of its free memory, so that a step copies nothing. Else
processes of their own make the batches of a GPU beforehand, in pinned memory, from which a copy does not wait.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from greenray.tasks.base import Inputs, TrainingBatch
from greenray.tasks.labelled import KEPT_BYTES, Encode, bytes_of, pinned_bound, to_device

if TYPE_CHECKING:
    import torch

DEVICE_SHARE = 0.25
"""Of the device's free memory, before there is a model: weights, gradients and activations need the rest."""
_CHUNK = 256
_MOST_WORKERS, _MOST_AHEAD = 8, 2  # processes, and batches that each makes beforehand


class Pool:
    """Samples made ready once if they fit into memory, else at every draw.

    `where` they wait: `device`, `host`, or `workers`, processes that make the batches of an epoch.
    """

    def __init__(self, encode: Encode, labels: Sequence[int], *, device: str = "cpu", kept_bytes: int = KEPT_BYTES) -> None:
        import torch

        self._encode = encode
        self._device = device
        self._labels = torch.tensor(labels)
        self._kept: Inputs | None = None
        self._loader: _Loader | None = None
        self.where = "workers" if device == "cuda" else "host"
        self.sample_bytes = bytes_of(encode([0]))
        needed_bytes = self.sample_bytes * len(labels)
        if needed_bytes <= kept_bytes:
            parts = [encode(range(start, min(start + _CHUNK, len(labels)))) for start in range(0, len(labels), _CHUNK)]
            self._kept = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            if device == "cuda" and needed_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info()[0]:
                self._kept = {name: values.to(device) for name, values in self._kept.items()}
                self._labels = self._labels.to(device)
                self.where = "device"

    def __len__(self) -> int:
        return len(self._labels)

    def draw(self, rows: "torch.Tensor") -> TrainingBatch:
        """Inputs and labels (rows,) of these samples, where they wait."""
        kept = self._kept
        inputs = self._encode(rows.tolist()) if kept is None else {name: values[rows] for name, values in kept.items()}
        return TrainingBatch(inputs=inputs, targets=self._labels[rows])

    def batch(self, rows: "torch.Tensor") -> TrainingBatch:
        """Inputs and labels (rows,) of these samples, on the device."""
        return self._bring(self.draw(rows))

    def batches(self, order: "torch.Tensor") -> Iterator[TrainingBatch]:
        """Those of an epoch, on the device; `order` are the samples, shape (batches, samples)."""
        if self.where == "workers":
            self._loader = self._loader or _Loader(self, batch_bytes=self.sample_bytes * order.shape[1])
            return map(self._bring, self._loader.batches(order))
        # One copy an epoch: to be indexed by rows in host memory, a device would have to wait for them at every step.
        return map(self.batch, order.to(self._device) if self.where == "device" else order)

    def _bring(self, batch: TrainingBatch) -> TrainingBatch:
        inputs, targets = to_device(batch.inputs, self._device), batch.targets.to(self._device, non_blocking=True)
        return TrainingBatch(inputs=inputs, targets=targets)


class _Loader:
    """Processes that draw the batches of epochs; they live until the cell ends, and their processor time is the cell's."""

    def __init__(self, pool: Pool, *, batch_bytes: int) -> None:
        import torch
        from torch.utils.data import DataLoader

        workers, ahead = shape_of_loader(batch_bytes, threads=torch.get_num_threads(), most_bytes=pinned_bound())
        self._order: list[list[int]] = []
        draws: Any = _Draws(pool)
        self._batches: DataLoader[TrainingBatch] = DataLoader(
            draws,
            batch_size=None,  # the sampler gives whole batches
            sampler=_Turns(self._order),
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=ahead,
            pin_memory=True,
            persistent_workers=True,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # its own, so that dropout draws the same numbers wherever the data wait
        )

    def batches(self, order: "torch.Tensor") -> Iterable[TrainingBatch]:
        self._order[:] = order.tolist()
        return self._batches


def shape_of_loader(batch_bytes: int, *, threads: int, most_bytes: int) -> tuple[int, int]:
    """Processes, and batches that each makes ahead: they wait in shared memory, then pinned, and take `most_bytes` or are one."""
    batches = max(1, most_bytes // batch_bytes)
    workers = max(1, min(_MOST_WORKERS, threads, batches))
    return workers, max(1, min(_MOST_AHEAD, batches // workers))


class _Turns:
    """The rows of each batch of the epoch that begins."""

    def __init__(self, order: list[list[int]]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[list[int]]:
        return iter(list(self._order))

    def __len__(self) -> int:
        return len(self._order)


class _Draws:
    """A pool as what torch calls a dataset."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __getitem__(self, rows: list[int]) -> TrainingBatch:
        import torch

        return self._pool.draw(torch.tensor(rows))


def _as_it_is(batch: Any) -> Any:
    return batch
