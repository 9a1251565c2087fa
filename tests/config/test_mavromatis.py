"""The configs of Mavromatis et al. (2024): what they expand to, and that the one without a download is the other's twin."""

from collections import Counter

import pytest

from greenray.config.load import load
from greenray.config.matrix import expand
from greenray.config.refs import Hyperparameters
from greenray.config.spec import SweepConfig
from tests.support import ROOT

SIZES = (4, 8, 16, 32, 64, 128, 256)
SOME = ("lenet", "mobilenet_v1", "resnet", "vgg")


def read(name: str) -> SweepConfig:
    return load(ROOT / "configs" / f"{name}.yaml")


PAPER, OFFLINE = read("mavromatis-2024"), read("mavromatis-2024-offline")


def cells_by_experiment(config: SweepConfig) -> Counter[str]:
    return Counter(cell.experiment for block in expand(config, auto_device="cuda") for cell in block.cells)


def test_the_paper_s_hyperparameters() -> None:
    train = PAPER.experiments[0]
    assert [(dataset.id, train.batch_sizes) for dataset in train.datasets] == [("uoft-cs/cifar10", (128,))]
    cells = [cell for block in expand(PAPER, auto_device="cuda") for cell in block.cells if cell.experiment == train.name]
    assert {cell.hyperparameters for cell in cells} == {
        Hyperparameters(
            epochs=100,
            learning_rate=1e-3,
            schedule="cosine",
            optimizer="sgd",
            weight_decay=5e-4,
            augmentation=("crop", "flip"),
            evaluate_each_epoch=True,
        )
    }


def test_fourteen_models_are_trained_and_measured_at_every_batch_size() -> None:
    assert cells_by_experiment(PAPER) == {
        "train": 14,
        "train-by-batch-size": 14 * len(SIZES) * 3,
        "train-by-learning-rate": 4 * 4,
        "infer-by-batch-size": 14 * len(SIZES) * 3,
    }
    # Batches of 64 at a rate of 0.05 are those of `train`.
    assert cells_by_experiment(OFFLINE) == {
        "train": 14,
        "train-by-batch-size": 4 * len(SIZES),
        "train-by-learning-rate": 4 * 3,
        "infer-by-batch-size": 14 * len(SIZES),
    }


@pytest.mark.parametrize("number", range(4))
def test_the_twin_has_the_same_experiments(number: int) -> None:
    paper, offline = PAPER.experiments[number], OFFLINE.experiments[number]
    same = ("name", "phase", "tactics", "schedule", "optimizers", "weight_decay", "evaluate_each_epoch")
    assert [getattr(paper, field) for field in same] == [getattr(offline, field) for field in same]
    of_paper, of_offline = ([model.architecture for model in experiment.models] for experiment in (paper, offline))
    assert set(of_offline) == set(of_paper) & {*SOME} if paper.name == "train-by-batch-size" else of_offline == of_paper
    if "by-batch-size" in paper.name:
        assert paper.batch_sizes == offline.batch_sizes == SIZES
    if paper.name == "train-by-learning-rate":
        assert 1e-3 in set(paper.learning_rates) & set(offline.learning_rates)
