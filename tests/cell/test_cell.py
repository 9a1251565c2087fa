"""Whole cells over a real socket pair: the order and the edges of the windows, results, and every way to fail."""

import itertools
import statistics
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification, ResNetConfig

from greenray.cell import training
from greenray.cell.protocol import CellTask, Ready
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.tasks.checkpoints import from_files, save
from greenray.tasks.image_classification.task import processor_config
from tests.support.driving import QUICK, Conversation, drive, folder, make_task, preset

THREE_EPOCHS = Hyperparameters(epochs=3, learning_rate=0.01, schedule="one-cycle", optimizer="adamw", weight_decay=0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Conversation, Path]:
    folder = tmp_path_factory.mktemp("checkpoint") / "c1"
    task = make_task(phase="training", model=preset("resnet"), batch_size=64, hyperparameters=THREE_EPOCHS, save_to=folder)
    return drive(task), folder


@pytest.fixture(scope="module")
def served(trained: tuple[Conversation, Path]) -> Conversation:
    return drive(serve(trained[1]))


def serve(checkpoint: Path, **fields: object) -> CellTask:
    model = ModelRef(source="checkpoint", id="c1", label="resnet-tiny")
    return make_task(model=model, checkpoint=checkpoint, **fields)  # type: ignore[arg-type]


class TestTraining:
    def test_windows_come_in_order_one_an_epoch(self, trained: tuple[Conversation, Path]) -> None:
        kinds = [window.kind for window in trained[0].windows]
        assert kinds == ["data", "load", "idle", "epoch", "epoch", "epoch", "evaluate"]
        epochs = trained[0].of("epoch")
        assert [window.epoch for window in epochs] == [1, 2, 3]
        assert [window.samples for window in epochs] == [1437 // 64 * 64] * 3
        assert epochs[0].loss is not None
        assert epochs[2].loss is not None
        assert epochs[2].loss < 0.5 * epochs[0].loss
        assert all(window.train_accuracy is not None and 0 < window.train_accuracy <= 1 for window in epochs)
        assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(trained[0].windows))

    def test_it_learns_and_says_how_sure_it_is(self, trained: tuple[Conversation, Path]) -> None:
        done = trained[0].done
        assert trained[0].exit_code == 0
        assert done.accuracy is not None
        assert done.accuracy_low is not None
        assert done.accuracy_high is not None
        assert done.accuracy > 0.9
        assert done.accuracy_low < done.accuracy < done.accuracy_high
        right = sum(a == b for a, b in zip(done.labels, done.predictions, strict=True))
        assert right / 360 == done.accuracy
        assert len(done.predictions) == 360

    def test_the_checkpoint_is_served_with_the_same_predictions(
        self, trained: tuple[Conversation, Path], served: Conversation
    ) -> None:
        assert (trained[1] / "model.safetensors").is_file()
        assert served.done.predictions == trained[0].done.predictions
        assert served.done.labels == trained[0].done.labels

    def test_the_same_seed_trains_the_same_model(self, trained: tuple[Conversation, Path], tmp_path: Path) -> None:
        once = make_task(phase="training", model=preset("resnet"), batch_size=64, hyperparameters=THREE_EPOCHS)
        assert drive(once).of("epoch")[0].loss == pytest.approx(trained[0].of("epoch")[0].loss, rel=1e-3)

    @pytest.mark.parametrize(("optimizer", "schedule", "rate"), [("sgd", "cosine", 0.05), ("adam", "constant", 0.003)])
    def test_other_optimizers_and_schedules_learn_too(self, optimizer: str, schedule: str, rate: float) -> None:
        hyper = Hyperparameters(epochs=2, learning_rate=rate, schedule=schedule, optimizer=optimizer, weight_decay=0.0)
        losses = [
            window.loss
            for window in drive(make_task(phase="training", model=preset("resnet"), batch_size=64, hyperparameters=hyper)).of(
                "epoch"
            )
        ]
        assert losses[0] is not None
        assert losses[1] is not None
        assert losses[1] < losses[0] < 2.3

    def test_divergence_is_a_sentence(self) -> None:
        hyper = Hyperparameters(epochs=3, learning_rate=1e12, schedule="constant", optimizer="sgd", weight_decay=0.0)
        task = make_task(phase="training", model=preset("convnext"), batch_size=256, hyperparameters=hyper)
        failed = drive(task).failed
        assert "training diverged in epoch" in failed.error
        assert failed.refused  # the same seed would diverge again

    def test_quantised_models_cannot_be_trained(self) -> None:
        task = make_task(phase="training", hyperparameters=THREE_EPOCHS, tactic=("dynamic-quantization",))
        assert drive(task).failed.status == "unsupported"

    def test_masks_hold_during_training_and_are_saved_as_zeros(self, tmp_path: Path) -> None:
        hyper = Hyperparameters(epochs=1, learning_rate=0.003, schedule="constant", optimizer="adam", weight_decay=0.0)
        tactic = (("prune-global", {"amount": 0.5, "permanent": False}),)
        task = make_task(
            phase="training", model=preset("resnet"), batch_size=64, hyperparameters=hyper, tactic=tactic, save_to=tmp_path
        )
        done = drive(task).done
        assert done.nonzero_parameters is not None
        assert done.parameters is not None
        assert done.nonzero_parameters < 0.6 * done.parameters
        assert drive(serve(tmp_path)).done.nonzero_parameters == done.nonzero_parameters


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    path = tmp_path_factory.mktemp("tiny") / "model"
    config = ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", num_labels=10)
    processor = from_files("AutoImageProcessor", {"preprocessor_config.json": processor_config(channels=1)})
    save(AutoModelForImageClassification.from_config(config), processor, path)
    return folder(path)


class TestCompiledTraining:
    """On a network of one layer with batch normalisation: compiling is slow."""

    def train(self, model: ModelRef, *tactics: str) -> Conversation:
        data = DatasetRef(id="digits", samples=64)
        conversation = drive(
            make_task(phase="training", model=model, dataset=data, hyperparameters=THREE_EPOCHS, tactic=tactics or ("baseline",))
        )
        torch._dynamo.reset()
        return conversation

    def test_compiling_lies_in_optimize_and_training_starts_untouched(self, tiny: ModelRef) -> None:
        compiled, plain = self.train(tiny, "compile"), self.train(tiny)
        kinds = [window.kind for window in compiled.windows]
        assert kinds == ["data", "load", "idle", "optimize", "epoch", "epoch", "epoch", "evaluate"]
        assert [window.rejected for window in compiled.of("epoch")] == [None, None, None]
        # The first epoch takes the same steps from the same start: what differs is how the compiler rounds.
        assert compiled.of("epoch")[0].loss == pytest.approx(plain.of("epoch")[0].loss, rel=1e-4)
        assert compiled.done.evidence["compile"]["graphs"] >= 2  # for answers, and for learning

    def test_an_epoch_in_which_code_was_compiled_is_rejected(self, tiny: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training.Trainer, "rehearse", lambda trainer: None)
        rejected = [window.rejected for window in self.train(tiny, "compile").of("epoch")]
        assert rejected[0] is not None
        assert "code was compiled" in rejected[0]
        assert rejected[1:] == [None, None]


class TestBatchSize:
    def test_another_batch_is_measured_and_every_sample_answered_once(
        self, trained: tuple[Conversation, Path], served: Conversation
    ) -> None:
        asked = served.done.measured_batch_size
        assert asked is not None
        small = drive(serve(trained[1], tactic=(("batch-size", {"size": 7}),)))
        assert small.done.measured_batch_size == 7
        assert {window.samples // window.iterations for window in small.of("steady")} == {7}
        assert {window.samples // window.iterations for window in served.of("steady")} == {asked}
        assert small.done.labels == served.done.labels
        # Sums of other batches are rounded otherwise, which may turn an answer that hung in the balance.
        assert sum(a != b for a, b in zip(small.done.predictions, served.done.predictions, strict=True)) <= 3
        assert small.done.evidence["batch-size"]["batch_size_of_baseline"] == asked

    def test_the_block_s_own_is_not_applied_before_anything_is_loaded(self, trained: tuple[Conversation, Path]) -> None:
        size = make_task().cell.batch_size
        same = drive(serve(trained[1], tactic=(("batch-size", {"size": size}),)))
        assert same.failed.status == "not_applied"
        assert same.windows == []


class TestInference:
    def test_windows_come_in_order_after_ready(self, served: Conversation) -> None:
        assert isinstance(served.messages[0], Ready)
        kinds = [window.kind for window in served.windows]
        assert [kind for kind, _ in itertools.groupby(kinds)] == [
            "data",
            "load",
            "idle",
            "optimize",
            "warmup",
            "steady",
            "evaluate",
        ]
        assert kinds.count("steady") >= 2  # a verdict that comes late finds another one
        assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(served.windows))

    def test_steady_windows_are_back_to_back_and_long_enough(self, served: Conversation) -> None:
        (warmup,), steady = served.of("warmup"), served.of("steady")
        assert steady[0].start_s == warmup.end_s
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(steady))
        for window in steady:
            assert window.end_s - window.start_s >= QUICK.window_s
            assert window.iterations >= 10
            assert window.samples == 32 * window.iterations
            assert window.rejected is None
            assert window.latency_p50_s is not None
            assert window.latency_p95_s is not None
            assert window.latency_p99_s is not None
            assert 0 < window.latency_p50_s <= window.latency_p95_s <= window.latency_p99_s
            # The load runs through: iterations fill the window.
            mean_s = (window.end_s - window.start_s) / window.iterations
            assert window.latency_p50_s <= 2 * mean_s  # true of any times that add up to the window

    def test_idle_does_nothing_for_as_long_as_asked(self, served: Conversation) -> None:
        (idle,) = served.of("idle")
        assert idle.samples == 0
        assert idle.end_s - idle.start_s >= QUICK.idle_s

    def test_the_result_describes_the_model(self, served: Conversation) -> None:
        done = served.done
        assert (done.model_family, done.dataset_split, done.dtype, done.num_threads) == ("resnet", "test", "float32", 1)
        assert done.attention is None
        assert done.peak_gpu_memory_bytes is None
        assert done.parameters == 309_178
        assert done.size_bytes is not None
        assert 4 * done.parameters < done.size_bytes < 4.5 * done.parameters
        assert done.flops_per_sample == 2 * (done.macs_per_sample or 0) > 1e6
        assert done.versions["torch"] == metadata.version("torch")
        assert done.settings["inference_mode"] is True
        assert "in_flight" not in done.settings  # that is a question of boards
        assert served.of("evaluate")[0].samples == 360

    def test_at_most_max_windows_when_the_worker_is_never_satisfied(self, trained: tuple[Conversation, Path]) -> None:
        assert len(drive(serve(trained[1]), enough_after=100).of("steady")) == QUICK.max_windows

    def test_samples_and_large_batches(self, trained: tuple[Conversation, Path]) -> None:
        task = serve(trained[1], dataset=DatasetRef(id="digits", samples=20), batch_size=48)
        conversation = drive(task)
        assert len(conversation.done.predictions) == 20
        assert conversation.of("evaluate")[0].samples == 20
        assert conversation.of("steady")[0].samples % 48 == 0

    @pytest.mark.parametrize("name", ["dynamic-quantization", "int8-dynamic", "prune-local", "bf16"])
    def test_tactics_bring_evidence_and_little_harm(
        self, name: str, trained: tuple[Conversation, Path], served: Conversation
    ) -> None:
        done = drive(serve(trained[1], tactic=(name,))).done
        assert done.evidence[name]
        assert done.accuracy is not None
        assert done.accuracy > 0.85
        agreement = statistics.fmean(a == b for a, b in zip(done.predictions, served.done.predictions, strict=True))
        assert agreement > 0.9
        assert (done.nonzero_parameters is None) == (name in ("dynamic-quantization", "int8-dynamic"))
        assert done.size_bytes is not None
        assert served.done.size_bytes is not None
        assert done.size_bytes <= served.done.size_bytes * 1.001
        assert done.dtype == ("bfloat16" if name == "bf16" else "float32")

    def test_compile_is_paid_in_optimize_and_never_later(self, trained: tuple[Conversation, Path]) -> None:
        conversation = drive(serve(trained[1], tactic=("compile",)))
        torch._dynamo.reset()
        assert conversation.done.evidence["compile"]["graphs"] >= 1
        assert [window.rejected for window in conversation.of("steady")] == [None, None]

    def test_weights_that_are_broken(self, trained: tuple[Conversation, Path], tmp_path: Path) -> None:
        for file in trained[1].iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!")
        failed = drive(serve(tmp_path)).failed
        assert failed.status == "failed"
        assert "\n" not in failed.error
        assert failed.model_family == "resnet"
