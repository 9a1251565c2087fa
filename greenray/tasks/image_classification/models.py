"""Image classifiers and their image processors: from the hub, a folder, a trained checkpoint, or fresh from a preset.

The baseline is set here: fp32, eager, the model's own sdpa attention. Checkpoints are safetensors and no code of theirs
is run, unless `trust:` names the model.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from greenray.config.cell import ModelRef
from greenray.config.settings import Trust
from greenray.errors import CellError, ResourceError
from greenray.tasks.image_classification.presets import IMAGE_SIZE, PRESETS, processor_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel


SAFE = Trust()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """All that is known of a model before its weights are touched.

    Attributes:
        config: its transformers configuration.
        processor: turns PIL images into `pixel_values`.
        channels: 1 or 3.
        folder: hub id or folder of the weights; None for fresh ones.
    """

    ref: ModelRef
    config: Any
    processor: Any
    channels: int
    trust: Trust
    folder: str | None
    new_head: bool = False

    @property
    def family(self) -> str:
        return str(self.config.model_type)

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(str(self.config.id2label[index]) for index in sorted(self.config.id2label))


def check(ref: ModelRef) -> None:
    """Pass if the model is there: on the disk, in the cache or on the hub. Does not import torch.

    Raises:
        ResourceError: missing or unreachable, with what to do.
    """
    if ref.source == "folder":
        _check_folder(ref, Path(ref.path or ref.id))
    elif ref.source == "hub":
        from greenray.tasks import hub

        hub.check_model(ref.id, revision=ref.revision)


def blueprint(
    ref: ModelRef,
    *,
    label_names: Sequence[str],
    channels: int,
    checkpoint: str | None = None,
    trust: Trust = SAFE,
    new_head: bool = False,
) -> Blueprint:
    """Configuration and image processor of a model.

    Args:
        label_names: classes of the data; fresh models and new heads get one output each.
        channels: channels of the data's images; fresh models take as many.
        checkpoint: folder of the trained model for `checkpoint` refs.
        new_head: replace a loaded model's classifier if its classes are not those of the data (training).

    Raises:
        ResourceError: there is no such model.
        CellError: it is there but cannot be read.
    """
    from transformers import AutoConfig, AutoImageProcessor

    if ref.source == "config":
        fields = dict(PRESETS[ref.architecture or "", ref.preset or ""])
        if ref.architecture != "resnet":  # the one family here whose configuration has no image size
            fields["image_size"] = IMAGE_SIZE
        config = AutoConfig.for_model(ref.architecture, num_channels=channels, **_labels(label_names), **fields)
        processor = _new_processor(channels=channels)
        return Blueprint(ref=ref, config=config, processor=processor, channels=channels, trust=trust, folder=None)

    folder = checkpoint if ref.source == "checkpoint" else ref.path if ref.source == "folder" else ref.id
    if folder is None:
        raise CellError(f"model {ref.label}: the folder of its checkpoint was not given")
    if ref.source != "hub":
        _check_folder(ref, Path(folder))
    with _loading(ref):
        config = AutoConfig.from_pretrained(folder, **_where(ref, trust))
        processor = AutoImageProcessor.from_pretrained(folder, **_where(ref, trust))
    found = Blueprint(
        ref=ref,
        config=config,
        processor=processor,
        channels=int(getattr(config, "num_channels", 3)),
        trust=trust,
        folder=folder,
    )
    if new_head and found.label_names != tuple(label_names):
        config.update(_labels(label_names))
        return replace(found, new_head=True)
    return found


def build(plan: Blueprint) -> "PreTrainedModel":
    """The model in evaluation mode, fp32, on the CPU; called as `model(pixel_values=...)`, it answers with `.logits`.

    Raises:
        CellError: the weights cannot be loaded, for example because they are no safetensors.
    """
    import torch
    from transformers import AutoModelForImageClassification

    if plan.folder is None:
        model = AutoModelForImageClassification.from_config(plan.config, dtype=torch.float32)
        return cast("PreTrainedModel", model.eval())
    with _loading(plan.ref):
        model = AutoModelForImageClassification.from_pretrained(
            plan.folder,
            config=plan.config,
            dtype=torch.float32,  # else the checkpoint's own, which may be half
            use_safetensors=None if _named(plan.ref, plan.trust.pickle) else True,
            ignore_mismatched_sizes=plan.new_head,
            **_where(plan.ref, plan.trust),
        )
    return cast("PreTrainedModel", model.eval())


def meta_copy(plan: Blueprint) -> "PreTrainedModel":
    """The same architecture without weights, on the meta device, for counting operations."""
    import torch
    from transformers import AutoModelForImageClassification

    remote_code = {"trust_remote_code": True} if _named(plan.ref, plan.trust.remote_code) else {}
    with torch.device("meta"):
        model = AutoModelForImageClassification.from_config(plan.config, **remote_code)
    return cast("PreTrainedModel", model.eval())


def attention(model: "PreTrainedModel") -> str | None:
    """The attention implementation; None where the model has no attention."""
    # Configurations name an implementation for convolution nets too: believe the modules.
    has_attention = any("attention" in type(module).__name__.lower() for module in model.modules())
    return str(model.config._attn_implementation) if has_attention else None


def save(model: "PreTrainedModel", processor: Any, folder: Path) -> None:
    """Write model (safetensors) and image processor, so that `blueprint` and `build` find both."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def label_map(model_names: Sequence[str], data_names: Sequence[str]) -> list[int] | None:
    """For each class of the data the model's output for it; None if the two do not speak of the same classes.

    Names decide where they agree (case, blanks, underscores and synonyms after a comma aside); else equal numbers of
    classes mean equal order.
    """

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]+", " ", name.split(",")[0]).strip().lower()

    index = {plain(name): position for position, name in enumerate(model_names)}
    wanted = [plain(name) for name in data_names]
    if len(index) == len(model_names) and len(set(wanted)) == len(wanted) and all(name in index for name in wanted):
        return [index[name] for name in wanted]
    return list(range(len(data_names))) if len(model_names) == len(data_names) else None


def _new_processor(*, channels: int) -> Any:
    """A preset's processor, loaded like a saved one: transformers then picks the backend, Pillow where torchvision is absent."""
    from transformers import AutoImageProcessor

    with tempfile.TemporaryDirectory(prefix="greenray-") as folder:
        Path(folder, "preprocessor_config.json").write_text(json.dumps(processor_config(channels=channels)))
        return AutoImageProcessor.from_pretrained(folder)


def _labels(names: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def _where(ref: ModelRef, trust: Trust) -> dict[str, Any]:
    """Keyword arguments that every `from_pretrained` of this model gets."""
    revision = {"revision": ref.revision} if ref.source == "hub" and ref.revision is not None else {}
    return {"trust_remote_code": _named(ref, trust.remote_code), **revision}


@contextmanager
def _loading(ref: ModelRef) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CellError(f"model {ref.label} cannot be loaded: {_sentence(error)}") from error


def _named(ref: ModelRef, allowed: Sequence[str]) -> bool:
    return bool({ref.id, ref.path} & set(allowed))


def _check_folder(ref: ModelRef, folder: Path) -> None:
    if not folder.is_dir():
        raise ResourceError(f"model {ref.label}: there is no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ResourceError(f"model {ref.label}: {folder} has no config.json, so it is no model saved by transformers.")


def _sentence(error: BaseException) -> str:
    """The first sentence of a long message, on one line."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text[:300]
