"""Crop and flip of ready images: drawn for a whole batch, black at the margins, repeatable, and never evaluated on."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from greenray.config.refs import Augmentation, DatasetRef
from greenray.tasks.image_classification.augment import Augment, crop, flip
from greenray.tasks.image_classification.task import ImageClassification
from tests.support.driving import make_job, preset

BLACK = torch.tensor([-1.0, -2.0])


def numbered(side: int = 32) -> torch.Tensor:
    """Two images of two channels in which every pixel has a number of its own, from 1."""
    return torch.arange(1.0, 2 * 2 * side * side + 1).view(2, 2, side, side)


def test_a_crop_is_the_image_shifted_with_black_behind_it() -> None:
    images = numbered()
    uniform = torch.tensor([[0.0, 0.99999994], [0.5, 0.0]])  # one 4 up and in the middle, the other 4 down and 4 left
    first, second = crop(images, uniform, BLACK)
    assert torch.equal(first[:, 4:, :], images[0, :, :28, :])
    assert torch.equal(first[:, :4, :], BLACK.view(2, 1, 1).expand(2, 4, 32))
    assert torch.equal(second[:, :28, 4:], images[1, :, 4:, :28])
    assert torch.equal(second[:, 28:, :], BLACK.view(2, 1, 1).expand(2, 4, 32))
    assert torch.equal(second[:, :, :4], BLACK.view(2, 1, 1).expand(2, 32, 4))


@pytest.mark.parametrize(("side", "margin"), [(32, 4), (8, 1), (224, 28)])
def test_every_offset_comes_up_and_none_beyond_the_margin(side: int, margin: int) -> None:
    """A single bright pixel in the middle tells where each crop began."""
    image = torch.zeros(1, 1, side, side)
    image[0, 0, side // 2, side // 2] = 1.0
    many = 40 * (2 * margin + 1)
    uniform = torch.rand((2, many), generator=torch.Generator().manual_seed(0))
    found = crop(image.expand(many, 1, side, side), uniform, torch.zeros(1)).flatten(1).argmax(dim=1)
    rows, columns = found // side - side // 2, found % side - side // 2
    assert set(rows.tolist()) == set(columns.tolist()) == set(range(-margin, margin + 1))


def test_a_flip_mirrors_those_it_is_drawn_for() -> None:
    images = numbered()
    first, second = flip(images, torch.tensor([0.49, 0.5]))
    assert torch.equal(first, images[0].flip(-1))
    assert torch.equal(second, images[1])


def learnt(*kinds: Augmentation, seed: int = 0, epochs: int = 1, model: str = "resnet") -> tuple[ImageClassification, list[Any]]:
    data = DatasetRef(id="digits", samples=64)
    job = replace(make_job(model=preset(model), dataset=data, batch_size=16, training=True), augmentation=kinds, seed=seed)
    task = ImageClassification(job)
    task.prepare()
    order = torch.arange(64).view(4, 16)
    return task, [batch.inputs["pixel_values"] for _ in range(epochs) for batch in task.training_batches(order)]


def test_what_is_learnt_from_is_augmented_alike_for_one_seed_and_otherwise_in_each_epoch() -> None:
    task, drawn = learnt("crop", "flip", epochs=2)
    again, other = learnt("crop", "flip", epochs=2)[1], learnt("crop", "flip", epochs=2, seed=1)[1]
    assert all(torch.equal(one, two) for one, two in zip(drawn, again, strict=True))
    assert not torch.equal(drawn[0], other[0])
    assert not torch.equal(drawn[0], drawn[4])
    plain = learnt()[1]
    assert not torch.equal(drawn[0], plain[0])
    assert torch.equal(task.training_batch(torch.arange(16)).inputs["pixel_values"], plain[0])  # to validate on: as it is


def test_evaluation_sees_samples_as_they_are() -> None:
    (augmented, _), (plain, _) = learnt("crop", "flip"), learnt()
    assert torch.equal(augmented.example()["pixel_values"], plain.example()["pixel_values"])


def test_margins_are_what_the_processor_makes_of_black() -> None:
    """With a mean of a half, black is -1 and 0 is grey."""
    task, drawn = learnt("crop")
    assert task._augment is not None
    assert task._augment._black.tolist() == [-1.0]
    edges = torch.cat(drawn)[:, 0, 0, :]
    assert edges.min() == -1.0


def test_processors_that_do_not_normalise_leave_black_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    from greenray.tasks.image_classification import task as module

    plain = module.processor_config
    monkeypatch.setattr(module, "processor_config", lambda *, channels: plain(channels=channels) | {"do_normalize": False})
    task, _ = learnt("crop")
    assert task._augment is not None
    assert task._augment._black.tolist() == [0.0]


def test_colour_and_its_channels_are_kept_together() -> None:
    job = make_job(model=preset("resnet"), dataset=DatasetRef(id="digits", samples=32), training=True)

    class Red(ImageClassification):
        def read(self, ref: Any, *, purpose: Any) -> Any:
            found = super().read(ref, purpose=purpose)
            return replace(found, items=[Image.new("RGB", (8, 8), (255, 0, 0)) for _ in found.items])

    task = Red(replace(job, augmentation=("crop",)))
    task.prepare()
    (batch,) = task.training_batches(torch.arange(32).view(1, 32))
    pixels = batch.inputs["pixel_values"].permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)
    assert pixels.tolist() == [[-1.0, -1.0, -1.0], [1.0, -1.0, -1.0]]  # black margins around red


def test_the_order_is_that_of_the_names() -> None:
    images = numbered()
    batch = type(learnt()[0].training_batch(torch.arange(2)))(inputs={"pixel_values": images}, targets=torch.zeros(2))
    forth, back = (
        next(Augment(kinds, seed=3, device="cpu", black=BLACK).epoch(iter([batch]), shape=(1, 2))).inputs["pixel_values"]
        for kinds in (("crop", "flip"), ("flip", "crop"))
    )
    assert not torch.equal(forth, back)
