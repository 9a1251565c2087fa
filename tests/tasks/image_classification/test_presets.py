"""Every family at every size on real digits: it is built, answers, is counted, saved and read again."""

import sys
from pathlib import Path

import pytest
import torch

from greenray.cell import footprint, runtime
from greenray.config.refs import DatasetRef
from greenray.config.settings import Trust
from greenray.errors import ResourceError
from greenray.tasks.image_classification.presets import FAMILIES, IMAGE_SIZE, PRESETS, TIMM
from greenray.tasks.image_classification.task import ImageClassification
from tests.support.driving import folder, make_job, preset

# What transformers gives a family that has attention, if it asks for none in particular.
ATTENTION = {
    **dict.fromkeys(("vit", "deit", "beit", "dinov2", "swin", "segformer"), "sdpa"),
    **dict.fromkeys(("swinv2", "pvt_v2", "cvt", "levit", "mobilevitv2"), "eager"),
}
SIXTEEN = DatasetRef(id="digits", samples=16)


def prepared(architecture: str, size: str) -> ImageClassification:
    torch.manual_seed(3)
    task = ImageClassification(make_job(model=preset(architecture, size), dataset=SIXTEEN, batch_size=8))
    assert task.prepare() == (16, 2)
    return task


def test_every_family_has_both_sizes() -> None:
    assert {(family, size) for family in FAMILIES for size in ("tiny", "small")} <= PRESETS.keys()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_small_is_bigger_than_tiny_and_both_run(architecture: str) -> None:
    sizes = []
    for size in ("tiny", "small"):
        task = prepared(architecture, size)
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
        assert runtime.attention(model) == ATTENTION.get(architecture)
        macs, flops = footprint.operations_per_sample(*task.skeleton())
        assert flops == 2 * macs > 0
        sizes.append((footprint.parameters(model), macs))
    (tiny_parameters, tiny_macs), (small_parameters, small_macs) = sizes
    assert small_parameters > 2 * tiny_parameters
    assert small_macs > 2 * tiny_macs


@pytest.mark.parametrize("architecture", FAMILIES)
def test_what_is_saved_is_read_again(architecture: str, tmp_path: Path) -> None:
    fresh = prepared(architecture, "tiny")
    model = fresh.load()
    fresh.save(model, tmp_path)
    found = ImageClassification(make_job(model=folder(tmp_path), dataset=SIXTEEN, batch_size=8))
    found.prepare()
    assert found.family == architecture
    read = found.load()
    assert {name: value.shape for name, value in read.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    with torch.inference_mode():
        torch.testing.assert_close(read(**found.example()).logits, model(**fresh.example()).logits)
    assert footprint.operations_per_sample(*found.skeleton()) == footprint.operations_per_sample(*fresh.skeleton())


def test_a_model_of_timm_needs_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    (name, *_) = (size for family, size in PRESETS if family == TIMM)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ResourceError, match=rf"model timm-{name} is built by the package timm: install it"):
        ImageClassification.check_model(preset(TIMM, name), trust=Trust())
