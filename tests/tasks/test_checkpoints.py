"""Models from folders: what is there, what may be loaded, and what is said otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageClassification, ResNetConfig

from greenray.config.refs import ModelRef
from greenray.config.settings import Trust
from greenray.errors import Refused, ResourceError
from greenray.tasks import checkpoints
from tests.support.driving import folder, preset

AUTO = "AutoModelForImageClassification"
SAFE = Trust()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    config = ResNetConfig(num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=3)
    torch.manual_seed(3)
    checkpoints.save(AutoModelForImageClassification.from_config(config), None, tmp_path / "model")
    return tmp_path / "model"


def pickled(path: Path) -> Path:
    state = read(folder(path), SAFE)
    torch.save(checkpoints.build(state, auto_model=AUTO).state_dict(), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    return path


def with_code(path: Path, model_type: str = "homemade") -> Path:
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": {"AutoConfig": "homemade.Config", AUTO: "homemade.Model"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "homemade.py").write_text(
        "from transformers import PretrainedConfig, ResNetConfig, ResNetForImageClassification\n"
        "class Config(ResNetConfig):\n    model_type = 'homemade'\n"
        "class Model(ResNetForImageClassification):\n    config_class = Config\n"
    )
    return path


def read(ref: ModelRef, trust: Trust) -> checkpoints.Blueprint:
    return checkpoints.read(ref, checkpoint=None, trust=trust, auto_processor=None)


def test_what_is_safe_passes_and_loads(saved: Path) -> None:
    checkpoints.check(folder(saved), trust=SAFE)
    checkpoints.check(preset("vit"), trust=SAFE)
    model = checkpoints.build(read(folder(saved), SAFE), auto_model=AUTO)
    assert not model.training
    assert model(pixel_values=torch.randn(2, 1, 32, 32)).logits.shape == (2, 3)


def test_pickled_weights_need_trust_by_name(saved: Path) -> None:
    pickled(saved)
    with pytest.raises(ResourceError, match=r"trust: \{pickle: \[\./model\]\}"):
        checkpoints.check(folder(saved), trust=SAFE)
    with pytest.raises(Refused, match=r"trust: \{pickle: \[\./model\]\}"):
        checkpoints.build(read(folder(saved), SAFE), auto_model=AUTO)
    trust = Trust(pickle=("./model",))
    checkpoints.check(folder(saved), trust=trust)
    assert checkpoints.build(read(folder(saved), trust), auto_model=AUTO).config.num_labels == 3


def test_code_of_a_checkpoint_needs_trust_by_name(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    with_code(saved)
    with pytest.raises(ResourceError, match=r"trust: \{remote_code: \[\./model\]\}"):
        checkpoints.check(folder(saved), trust=SAFE)
    with pytest.raises(Refused, match=r"trust: \{remote_code: \[\./model\]\}"):
        read(folder(saved), SAFE)
    trust = Trust(remote_code=("./model",))
    checkpoints.check(folder(saved), trust=trust)
    model = checkpoints.build(read(folder(saved), trust), auto_model=AUTO)
    assert (type(model).__name__, model.config.num_labels) == ("Model", 3)


def test_trusted_code_that_is_too_old_for_transformers_is_told_in_a_sentence(
    saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    code = with_code(saved, "bygone") / "homemade.py"
    code.write_text(code.read_text().replace("'homemade'", "'bygone'") + "    def tie_weights(self, **_):\n        self.heads\n")
    trust = Trust(remote_code=("./model",))
    with pytest.raises(ResourceError, match=r"model \./model cannot be loaded: .* has no attribute 'heads'"):
        checkpoints.build(read(folder(saved), trust), auto_model=AUTO)


def test_code_that_transformers_has_itself_is_not_needed_from_the_checkpoint(saved: Path) -> None:
    with_code(saved, "resnet")
    checkpoints.check(folder(saved), trust=SAFE)
    model = checkpoints.build(read(folder(saved), SAFE), auto_model=AUTO)
    assert type(model).__module__.startswith("transformers.")


def test_a_configuration_that_transformers_cannot_digest_is_told_in_a_sentence(saved: Path) -> None:
    (saved / "config.json").write_text('{"model_type": "resnet", "auto_map": null}')
    checkpoints.check(folder(saved), trust=SAFE)
    with pytest.raises(ResourceError, match=r"cannot be loaded"):
        read(folder(saved), SAFE)


def test_missing_folders_configurations_and_weights_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="there is no folder"):
        checkpoints.check(folder(tmp_path / "nowhere"), trust=SAFE)
    with pytest.raises(ResourceError, match=r"no config\.json"):
        checkpoints.check(folder(tmp_path), trust=SAFE)
    (saved / "model.safetensors").unlink()
    with pytest.raises(ResourceError, match=r"has no weights"):
        checkpoints.check(folder(saved), trust=SAFE)


@pytest.mark.parametrize("text", ["{bad", "null", "[]", "[" * 100_000])
def test_a_configuration_that_is_none_is_found_before_anything_is_loaded(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(ResourceError, match=r"its config\.json cannot be read or holds no JSON object"):
        checkpoints.check(folder(saved), trust=SAFE)


def test_broken_weights_are_not_a_matter_of_trust(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ResourceError, match="cannot be loaded") as caught:
        checkpoints.build(read(folder(saved), SAFE), auto_model=AUTO)
    assert not isinstance(caught.value, Refused)


def changed(path: Path, **fields: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_weights_that_would_be_filled_at_random_are_refused(saved: Path) -> None:
    changed(saved, embedding_size=16)
    with pytest.raises(Refused, match=r"do not fit its architecture: \d+ tensors .*name the model that it was made from"):
        checkpoints.build(read(folder(saved), SAFE), auto_model=AUTO)


def test_what_is_quantised_already_has_no_baseline(saved: Path) -> None:
    changed(saved, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(Refused, match="is quantised already"):
        read(folder(saved), SAFE)
