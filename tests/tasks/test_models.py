"""Every architecture at every preset, and models from folders; no network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from greenray.cell import quality
from greenray.config.cell import DatasetRef, ModelRef
from greenray.config.settings import Trust
from greenray.config.spec import ARCHITECTURES, PRESETS
from greenray.errors import CellError, ResourceError
from greenray.tasks.image_classification import batches, data, models, presets
from tests.support.driving import preset

NAMES = tuple("0123456789")


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.load(DatasetRef(id="digits", samples=16), purpose="test")


def test_presets_are_those_of_the_config() -> None:
    assert set(presets.PRESETS) == {(architecture, size) for architecture in ARCHITECTURES for size in PRESETS}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small_is_bigger_than_tiny_and_both_run(architecture: str, digits: data.ImageSet) -> None:
    sizes = []
    for size in PRESETS:
        plan = models.blueprint(preset(architecture, size), label_names=NAMES, channels=1)
        model = models.build(plan)
        pixels = batches.prepare(digits, plan=plan, batch_size=8, pinned=False).kept[0]
        assert pixels.shape == (8, 1, presets.IMAGE_SIZE, presets.IMAGE_SIZE)
        assert -1 <= pixels.min() < pixels.max() <= 1
        with torch.inference_mode():
            logits = model(pixel_values=pixels).logits
        assert logits.shape == (8, 10)
        assert torch.isfinite(logits).all()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert models.attention(model) == ("sdpa" if architecture in ("vit", "swin") else None)
        sizes.append(quality.parameters(model))
    assert sizes[1] > 2 * sizes[0]


def test_colour_images_give_three_channels() -> None:
    plan = models.blueprint(preset("resnet"), label_names=("cat", "dog"), channels=3)
    assert models.build(plan)(pixel_values=torch.randn(2, 3, 32, 32)).logits.shape == (2, 2)
    assert plan.label_names == ("cat", "dog")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    plan = models.blueprint(preset("resnet"), label_names=NAMES, channels=1)
    models.save(models.build(plan), plan.processor, tmp_path / "model")
    return tmp_path / "model"


def folder(path: Path) -> ModelRef:
    return ModelRef(source="folder", id="./model", label="./model", path=str(path))


def test_a_saved_model_comes_back_the_same(saved: Path, digits: data.ImageSet) -> None:
    assert {file.name for file in saved.iterdir()} >= {"model.safetensors", "config.json", "preprocessor_config.json"}
    torch.manual_seed(3)
    fresh = models.build(models.blueprint(preset("resnet"), label_names=NAMES, channels=1))
    plan = models.blueprint(folder(saved), label_names=NAMES, channels=3)
    assert plan.channels == 1  # the model's, not the data's
    pixels = batches.prepare(digits, plan=plan, batch_size=8, pinned=False).kept[0]
    with torch.inference_mode():
        torch.testing.assert_close(models.build(plan)(pixel_values=pixels).logits, fresh(pixel_values=pixels).logits)


def test_a_new_head_has_the_classes_of_the_data(saved: Path) -> None:
    plan = models.blueprint(folder(saved), label_names=("a", "b"), channels=1, new_head=True)
    assert models.build(plan)(pixel_values=torch.randn(2, 1, 32, 32)).logits.shape == (2, 2)


def test_pickled_weights_need_trust(saved: Path) -> None:
    state = models.build(models.blueprint(folder(saved), label_names=NAMES, channels=1)).state_dict()
    torch.save(state, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(CellError, match="safetensors"):
        models.build(models.blueprint(folder(saved), label_names=NAMES, channels=1))
    trusted = models.blueprint(folder(saved), label_names=NAMES, channels=1, trust=Trust(pickle=("./model",)))
    assert quality.parameters(models.build(trusted)) > 0


def test_code_of_a_checkpoint_needs_trust(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config |= {
        "model_type": "homemade",
        "auto_map": {"AutoConfig": "homemade.Config", "AutoModelForImageClassification": "homemade.Model"},
    }
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "homemade.py").write_text("raise SystemExit('code of the checkpoint ran')")
    with pytest.raises(CellError, match="cannot be loaded"):
        models.blueprint(folder(saved), label_names=NAMES, channels=1)


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="there is no folder"):
        models.check(folder(tmp_path / "nowhere"))
    with pytest.raises(ResourceError, match=r"no config\.json"):
        models.check(folder(tmp_path))
    models.check(preset("vit"))


def test_an_unreachable_hub_is_said_so() -> None:
    code = (
        "from greenray.config.cell import ModelRef, DatasetRef; from greenray.workload import models, data\n"
        "from greenray.errors import ResourceError\n"
        "for check, ref in ((models.check, ModelRef(source='hub', id='a/b', label='a/b')), (data.check, DatasetRef(id='a/b'))):\n"
        "    try: check(ref)\n"
        "    except ResourceError as error: print(error)\n"
    )
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/nonexistent", "PATH": ""}
    lines = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert len(lines) == 2
    assert "model a/b is not cached and the hub cannot be reached" in lines[0]
    assert "dataset a/b is not cached and the hub cannot be reached" in lines[1]


@pytest.mark.parametrize(
    ("of_model", "of_data", "expected"),
    [
        (("cat", "dog"), ("dog", "cat"), [1, 0]),
        (("tench, Tinca tinca", "goldfish"), ("goldfish",), [1]),
        (("apple_pie", "baby-back ribs"), ("Apple pie", "baby back ribs"), [0, 1]),
        (("LABEL_0", "LABEL_1"), ("cat", "dog"), [0, 1]),
        (("a", "b", "c"), ("cat", "dog"), None),
    ],
)
def test_classes_are_matched_by_name_then_by_order(
    of_model: tuple[str, ...], of_data: tuple[str, ...], expected: list[int] | None
) -> None:
    assert models.label_map(of_model, of_data) == expected
