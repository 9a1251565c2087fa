"""Every architecture at every preset on real digits, and what a model from elsewhere makes of them."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from greenray.cell import footprint, runtime
from greenray.config.refs import DatasetRef
from greenray.tasks.image_classification.presets import IMAGE_SIZE, PRESETS
from greenray.tasks.image_classification.task import ImageClassification
from greenray.tasks.labelled import Labelled
from tests.support.driving import folder, make_job, preset

ARCHITECTURES = sorted({architecture for architecture, size in PRESETS if size == "small"})
SIXTEEN = DatasetRef(id="digits", samples=16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small_is_bigger_than_tiny_and_both_run(architecture: str) -> None:
    sizes = []
    for size in ("tiny", "small"):
        task = ImageClassification(make_job(model=preset(architecture, size), dataset=SIXTEEN, batch_size=8))
        assert task.prepare() == (16, 2)
        assert (task.family, task.split) == (architecture, "test")
        model = task.load()
        pixels = task.example()["pixel_values"]
        assert pixels.shape == (8, 1, IMAGE_SIZE, IMAGE_SIZE)
        assert -1 <= pixels.min() < pixels.max() <= 1
        with torch.inference_mode():
            logits = model(**task.example()).logits
        assert logits.shape == (8, 10)
        assert torch.isfinite(logits).all()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert runtime.attention(model) == ("sdpa" if architecture in ("vit", "swin") else None)
        sizes.append(footprint.parameters(model))
    assert sizes[1] > 2 * sizes[0]


def colours() -> Labelled:
    images = [Image.new("RGB", (12, 10), (value, 0, 0)) for value in range(4)]
    return Labelled(items=images, labels=(0, 1, 0, 1), label_names=("cat", "dog"), split="test")


def test_colour_images_give_three_channels() -> None:
    task = ImageClassification(make_job(model=preset("resnet")))
    plan = task.plan(colours())
    assert plan.label_names == ("cat", "dog")
    assert task.encode(colours(), [0, 2], plan=plan)["pixel_values"].shape == (2, 3, 32, 32)


def test_a_saved_model_sees_the_same_images_with_the_channels_it_has(tmp_path: Path) -> None:
    torch.manual_seed(3)
    fresh = ImageClassification(make_job(model=preset("resnet"), dataset=SIXTEEN, batch_size=8))
    fresh.prepare()
    model = fresh.load()
    fresh.save(model, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} >= {"model.safetensors", "config.json", "preprocessor_config.json"}
    found = ImageClassification(make_job(model=folder(tmp_path), dataset=SIXTEEN, batch_size=8))
    found.prepare()
    assert torch.equal(found.example()["pixel_values"], fresh.example()["pixel_values"])
    with torch.inference_mode():
        torch.testing.assert_close(found.load()(**found.example()).logits, model(**fresh.example()).logits)
    assert found.encode(colours(), [1], plan=found.plan(colours()))["pixel_values"].shape == (1, 1, 32, 32)


def test_a_batch_of_the_load_is_taken_in_turn_and_answered_as_in_the_evaluation() -> None:
    task = ImageClassification(make_job(model=preset("resnet"), dataset=SIXTEEN, batch_size=8))
    task.prepare()
    model = task.load()
    (stage,) = task.stages()
    with torch.inference_mode():
        steps = [stage.step(model) for _ in range(3)]
        evaluation = task.evaluate(model)
    assert (stage.name, stage.samples) == ("forward", 8)
    assert [step.tolist() for step in steps[:2]] == [evaluation.predictions[:8], evaluation.predictions[8:]]
    assert steps[2].tolist() == steps[0].tolist()
    assert evaluation.amount == (16, 2)
