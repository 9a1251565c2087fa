"""Pictures of both kinds, what a saved model makes of them, and the load that they give."""

from pathlib import Path

import torch
from PIL import Image

from greenray.config.refs import DatasetRef
from greenray.tasks.image_classification.task import ImageClassification
from greenray.tasks.labelled import Labelled
from tests.support.driving import folder, make_job, preset

SIXTEEN = DatasetRef(id="digits", samples=16)


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
