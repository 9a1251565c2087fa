"""What a task is: the work that a cell is measured at, from its data to the quality of its answers.

What a task declares is read by `plan` and the config, so importing a task must not import torch. In a cell its life is:

    task = task_class(cell.task)(job)
    task.prepare()                       # in the window `data`: samples to ready work
    model = task.load()                  # in `load`
    task.example()                       # what tactics may look at
    for stage in task.stages():          # each with a warm-up and steady windows of its own
        stage.step(model)
    task.evaluate(model)                 # in `evaluate`

and for training `training_batches` and `loss` in between, `save` at the end.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

    from greenray.config.refs import Augmentation, DatasetRef, ModelRef
    from greenray.config.settings import Trust

HOLD_OUT_SEED = 20_240_602  # no setting: which samples a training validates on is the same everywhere
Inputs = dict[str, "Tensor"]
"""Keyword arguments of one forward pass; the first dimension of each tensor counts samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMeasure:
    """How good answers are: a share (0-1), told in %, or a number in its own scale (perplexity, ...).

    `right-answers` is the share of predictions that are their label: by it tactics are compared answer by answer.
    """

    name: str
    kind: Literal["right-answers", "share", "number"]
    higher_is_better: bool = True

    @property
    def share(self) -> bool:
        return self.kind != "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a cell asks of its task.

    Attributes:
        checkpoint: folder of the trained model for `checkpoint` refs.
        in_flight: iterations on a GPU that may be begun and not done. Any stage will do for 2; one whose copies go over a
            `transfer.DoubleBuffer` has them overlap with work.
        augmentation: what is done at random to each sample that is learnt from, in this order.
        seed: of the random numbers that the task draws itself.
    """

    model: "ModelRef"
    dataset: "DatasetRef"
    batch_size: int
    device: str
    training: bool
    trust: "Trust"
    checkpoint: str | None = None
    in_flight: int = 1
    augmentation: "tuple[Augmentation, ...]" = ()
    seed: int = 0


class Amount(NamedTuple):
    """How much work lies in a window: samples in the task's unit, and iterations."""

    samples: int
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A named kind of steady load, measured in windows of its own and judged on its own.

    Attributes:
        samples: units of work in one iteration.
        step: asks for one iteration on the model it is given. Whoever measures waits for the device, and may ask for the next
            iteration before that, so a step had better not wait for the device itself.
    """

    name: str
    samples: int
    step: "Callable[[nn.Module], object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Answers to the whole evaluated split, one entry a sample in the classes of the data, and what they are worth.

    Attributes:
        amount: counted in the task's `evaluation_unit`.
        labels, predictions: empty where answers are not right or wrong.
        predictions: -1 is an answer that is none of the classes.
        quality: the task's measure, with the ends of its 95 % interval; None when unknown, and then `unknown` says why.
    """

    amount: Amount
    labels: list[int]
    predictions: list[int]
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    unknown: str | None = None


class TrainingBatch(NamedTuple):
    """What one training step works on, on the device."""

    inputs: Inputs
    targets: "Tensor"


class Task(ABC):
    """A kind of work.

    Attributes:
        unit: what a sample is, a singular noun.
        quality: its measure of quality; the value goes into the columns `accuracy`, `accuracy_low` and `accuracy_high`.
        evaluation_unit: what a sample of the evaluation is, where that is not the unit of work.
        presets: (architecture, preset) of the models that it builds with fresh weights, and what their configuration says.
        datasets: data sets that it knows by name; others are hub ids and paths.
        augmentations: what it can do at random to samples that are learnt from; a config that names another is refused.
        preload: modules that its cells import, for the fork server.
        family, split, training_samples: model_type of the model's configuration, the split that is measured and evaluated, and
            how many samples there are to learn from; once `prepare` knows it.
        settings: what `prepare` has set by itself, for the row's `settings`.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    quality: ClassVar[QualityMeasure]
    evaluation_unit: ClassVar[str | None] = None
    presets: ClassVar[Mapping[tuple[str, str], Mapping[str, Any]]] = {}
    datasets: ClassVar[tuple[str, ...]] = ()
    augmentations: "ClassVar[tuple[Augmentation, ...]]" = ()
    preload: ClassVar[tuple[str, ...]] = ()

    family: str | None = None
    split: str | None = None
    training_samples: int = 0
    settings: Mapping[str, Any] = {}

    def __init__(self, job: Job) -> None:
        self.job = job

    @classmethod
    @abstractmethod
    def check_model(cls, ref: "ModelRef", *, trust: "Trust") -> None:
        """Pass if the model is there and may be loaded, else raise ResourceError; asked before the first cell, without torch."""

    @classmethod
    @abstractmethod
    def check_dataset(cls, ref: "DatasetRef") -> None:
        """Pass if the data are there: on the disk, in the cache or on the hub, else raise ResourceError."""

    @abstractmethod
    def prepare(self) -> Amount:
        """Read the data and make them ready for the model, so that nothing of it is left to do when power is measured.

        Raises GreenRayError if there is no such model or data, or they cannot be read.
        """

    @abstractmethod
    def load(self) -> "nn.Module":
        """The model in evaluation mode, fp32, in host memory; raises ResourceError if its weights cannot be loaded."""

    @abstractmethod
    def skeleton(self) -> "tuple[nn.Module, Inputs]":
        """The same architecture without weights and the inputs of one sample, on the meta device, for counting operations."""

    @abstractmethod
    def example(self) -> Inputs:
        """The inputs of one forward pass on the device, one full batch."""

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The kinds of steady load, in the order in which they are measured; every iteration of one does the same work."""

    @abstractmethod
    def evaluate(self, model: "nn.Module") -> Evaluation:
        """Answers to every sample of the split, the surplus of a filled-up last batch dropped."""

    @abstractmethod
    def save(self, model: "nn.Module", folder: Path) -> None:
        """Write the model (safetensors) and all that `prepare` and `load` need to find it there."""

    @abstractmethod
    def training_batch(self, rows: "Tensor") -> TrainingBatch:
        """The training samples of these numbers, on the device, as they are: not augmented."""

    def training_batches(self, order: "Tensor") -> "Iterator[TrainingBatch]":
        """The batches of one epoch, on the device; `order` are the samples' numbers, shape (batches, samples).

        They are augmented as the job asks, with random numbers of their own that are the same wherever the data wait.
        """
        return map(self.training_batch, order)

    def hold_out(self, share: float) -> Sequence[int]:
        """Numbers of the training samples to validate on instead of learning from them, always the same; drawn at random here."""
        many = max(1, round(share * self.training_samples))
        return sorted(random.Random(HOLD_OUT_SEED).sample(range(self.training_samples), many))

    @abstractmethod
    def loss(self, outputs: Any, targets: "Tensor") -> "tuple[Tensor, Tensor | None]":
        """Mean loss of a batch, and how many of its samples were answered right (None where nothing is right or wrong)."""
