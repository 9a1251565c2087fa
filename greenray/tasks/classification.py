"""What every classification has in common: one forward pass a sample, labels, and accuracy with its interval."""

import itertools
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from greenray.tasks import checkpoints
from greenray.tasks.base import HOLD_OUT_SEED, Amount, Evaluation, Inputs, QualityMeasure, Stage, Task, TrainingBatch
from greenray.tasks.labelled import Batches, Labelled, Purpose, holdout, to_device
from greenray.tasks.training_data import Pool
from greenray.tasks.transfer import DoubleBuffer

if TYPE_CHECKING:
    import torch
    from torch import nn

    from greenray.config.refs import DatasetRef, ModelRef
    from greenray.config.settings import Trust


class Classification(Task):
    """Samples into classes, by a transformers model that answers with `.logits`.

    `auto_model` is transformers' class for the model, `auto_processor` that for what makes samples into inputs, if any.
    """

    quality = QualityMeasure(name="accuracy", kind="right-answers")
    preload: ClassVar[tuple[str, ...]] = ("scipy.stats", "sklearn.model_selection", "transformers.models.auto.modeling_auto")
    auto_model: ClassVar[str]
    auto_processor: ClassVar[str | None] = None

    @abstractmethod
    def read(self, ref: "DatasetRef", *, purpose: Purpose) -> Labelled:
        """The samples that `ref` names: for `test` those to measure and evaluate on, for `train` those to learn from.

        `ref.split` names the split of the purpose; `ref.samples` takes that many. Raises GreenRayError if any are missing.
        """

    @abstractmethod
    def encode(self, samples: Labelled, rows: Sequence[int], *, plan: checkpoints.Blueprint) -> Inputs:
        """The model's inputs for some samples, all of one shape a sample, in host memory."""

    def fresh(self, data: Labelled) -> tuple[Mapping[str, Any], Any]:
        """For a model by preset: what its configuration says beyond the preset and the classes, and its processor."""
        return {}, None

    @classmethod
    def check_model(cls, ref: "ModelRef", *, trust: "Trust") -> None:
        checkpoints.check(ref, trust=trust)

    def plan(self, data: Labelled) -> checkpoints.Blueprint:
        """All that is known of the model before its weights are touched; in training with the classes of the data."""
        from transformers import AutoConfig

        job, ref = self.job, self.job.model
        if ref.source == "config":
            fields, processor = self.fresh(data)
            preset = self.presets[ref.architecture or "", ref.preset or ""]
            fields = {"model_type": ref.architecture, **preset, **fields}  # a preset may name a model_type of its own
            config = AutoConfig.for_model(**fields, **checkpoints.labels(data.label_names))
            return checkpoints.Blueprint(ref=ref, config=config, processor=processor, trust=job.trust)
        found = checkpoints.read(ref, checkpoint=job.checkpoint, trust=job.trust, auto_processor=self.auto_processor)
        if job.training and found.label_names != data.label_names:
            found.config.update(checkpoints.labels(data.label_names))
            return replace(found, new_head=True)
        return found

    def prepare(self) -> Amount:
        job = self.job
        # What is evaluated is never the split that was declared for training.
        test_ref = job.dataset.model_copy(update={"split": None}) if job.training else job.dataset
        self._test = test = self.read(test_ref, purpose="test")
        train = self.read(job.dataset, purpose="train") if job.training else test
        self._plan = plan = self.plan(train)
        self.family, self.split = plan.family, test.split
        self._ahead = DoubleBuffer() if job.device == "cuda" and job.in_flight > 1 else None
        self._batches = Batches(
            lambda rows: self.encode(test, rows, plan=plan),
            total=len(test),
            batch_size=job.batch_size,
            pinned=job.device == "cuda",
        )
        self.settings = {"pinned_bytes": self._batches.pinned_bytes} if job.device == "cuda" else {}
        if plan.commit is not None:
            self.settings = {**self.settings, "model_commit": plan.commit}
        if test.commit is not None:
            self.settings = {**self.settings, "dataset_commit": test.commit}
        if not job.training:
            return Amount(samples=self._batches.samples_ready, iterations=self._batches.ready)
        self._pool = Pool(lambda rows: self.encode(train, rows, plan=plan), train.labels, device=job.device)
        self.settings = {**self.settings, "training_data": self._pool.where}
        self.training_samples = len(train)
        self._training_labels = train.labels
        return Amount(samples=self._batches.samples_ready + len(train), iterations=0)

    def load(self) -> "nn.Module":
        return checkpoints.build(self._plan, auto_model=self.auto_model)

    def skeleton(self) -> "tuple[nn.Module, Inputs]":
        one = {name: values[:1].to("meta") for name, values in self._batches.kept[0].items()}
        return checkpoints.skeleton(self._plan, auto_model=self.auto_model), one

    def save(self, model: "nn.Module", folder: Path) -> None:
        checkpoints.save(model, self._plan.processor, folder)

    def example(self) -> Inputs:
        return to_device(self._batches.kept[0], self.job.device)

    def stages(self) -> tuple[Stage, ...]:
        """One: copy a batch to the device, forward, argmax."""
        turn = itertools.cycle(self._batches.kept)
        return (Stage(name="forward", samples=self.job.batch_size, step=lambda model: self.predict(model, next(turn))),)

    def predict(self, model: "nn.Module", batch: Inputs) -> "torch.Tensor":
        """Predicted outputs of one batch, shape (batch,), on the device."""
        inputs = to_device(batch, self.job.device) if self._ahead is None else self._ahead(batch)
        answer: torch.Tensor = model(**inputs).logits.argmax(dim=-1)
        return answer

    def evaluate(self, model: "nn.Module") -> Evaluation:
        outputs = [output for batch in self._batches for output in self.predict(model, batch).tolist()][: len(self._test)]
        of_model, of_data = self._plan.label_names, self._test.label_names
        amount = Amount(samples=len(outputs), iterations=self._batches.count)
        answers = Evaluation(amount=amount, labels=list(self._test.labels), predictions=outputs)
        of_class = label_map(of_model, of_data)
        if of_class is None:
            return replace(answers, unknown=f"the model's {len(of_model)} classes are not the data's {len(of_data)}")
        class_of = {output: label for label, output in enumerate(of_class)}
        predictions = [class_of.get(output, -1) for output in outputs]  # -1: none of the data's classes
        correct = sum(label == prediction for label, prediction in zip(answers.labels, predictions, strict=True))
        low, high = wilson_interval(correct, len(predictions))
        return replace(answers, predictions=predictions, quality=correct / len(predictions), low=low, high=high)

    def training_batch(self, rows: "torch.Tensor") -> TrainingBatch:
        return self._pool.batch(rows)

    def training_batches(self, order: "torch.Tensor") -> Iterator[TrainingBatch]:
        return self._pool.batches(order)

    def hold_out(self, share: float) -> Sequence[int]:
        """Stratified by label where every class has enough samples."""
        import numpy as np

        held_out: list[int] = holdout(np.asarray(self._training_labels), share=share, seed=HOLD_OUT_SEED)["test"].tolist()
        return held_out

    def loss(self, outputs: Any, targets: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Cross entropy."""
        from torch.nn.functional import cross_entropy

        logits = outputs.logits
        return cross_entropy(logits.float(), targets), (logits.detach().argmax(dim=-1) == targets).sum()


def label_map(model_names: Sequence[str], data_names: Sequence[str]) -> list[int] | None:
    """For each class of the data the model's output for it; None if the two do not speak of the same classes.

    Names decide where they agree (case, blanks, underscores and synonyms after a comma aside); else equal numbers of
    classes mean equal order, as does a model's one class more that comes first and is the background, as in TensorFlow's.
    """

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]+", "", name.split(",")[0]).lower()

    index = {plain(name): position for position, name in enumerate(model_names)}
    wanted = [plain(name) for name in data_names]
    if len(index) == len(model_names) and len(set(wanted)) == len(wanted) and all(name in index for name in wanted):
        return [index[name] for name in wanted]
    others = len(model_names) - len(data_names)
    if others == 1 and plain(model_names[0]) == "background":
        return list(range(1, len(model_names)))
    return list(range(len(data_names))) if others == 0 else None


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share; (0, 1) when nothing was counted."""
    from scipy.stats import binomtest

    if total == 0:
        return 0.0, 1.0
    interval = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
