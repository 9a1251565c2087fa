"""What a cell runs on and with, by name. Apart from the cell: a task is told these, and need not know what a tactic is."""

from typing import Any, Literal

from greenray.config.settings import Frozen

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Augmentation = Literal["crop", "flip"]


class ModelRef(Frozen):
    """Which model a cell runs.

    Attributes:
        source: hub, folder, config (fresh weights by architecture and preset) or checkpoint (of a training cell).
        id: hub id, path as written, `architecture-preset`, or the id of the training cell.
        label: what reports call it.
        path: absolute folder for `folder` models; not part of the identity.
    """

    source: Literal["hub", "folder", "config", "checkpoint"]
    id: str
    label: str
    revision: str | None = None
    architecture: str | None = None
    preset: str | None = None
    path: str | None = None

    def identity(self) -> dict[str, Any]:
        if self.source == "checkpoint":
            return {"from": self.id}
        return self.model_dump(include={"architecture", "preset"} if self.source == "config" else {"id", "revision"})


class DatasetRef(Frozen):
    """Which data a cell reads; `path` is the absolute form of a local `id` and not part of the identity."""

    id: str
    split: str | None = None
    samples: int | None = None
    revision: str | None = None
    path: str | None = None

    def identity(self) -> dict[str, Any]:
        return self.model_dump(exclude={"path"})


class Hyperparameters(Frozen):
    """What training is told; what came later has a default, which no identity names.

    Attributes:
        precision: fp32, tf32, bf16 or fp16: of the matrix products (tf32), or of what autocast lowers; weights stay fp32.
        gradient_accumulation: batches whose mean gradient moves the weights once.
        augmentation: what is done at random to each sample that is learnt from, in this order.
        evaluate_each_epoch: answer the evaluated split after every epoch, in a window of its own, and not only at the end.
    """

    epochs: int
    learning_rate: float
    schedule: str
    optimizer: str
    weight_decay: float
    precision: Precision = "fp32"
    gradient_accumulation: int = 1
    augmentation: tuple[Augmentation, ...] = ()
    evaluate_each_epoch: bool = False

    def identity(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.model_dump().items()
            if (field := Hyperparameters.model_fields[name]).is_required() or value != field.default
        }
