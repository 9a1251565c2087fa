"""Models as transformers saves them: from the hub, a folder or a trained checkpoint.

The baseline is set here: fp32, eager, the model's own sdpa attention. Checkpoints are safetensors and no code of theirs
is run, unless `trust:` names the model.
"""

import importlib.util
import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from greenray.config.refs import ModelRef
from greenray.config.settings import Trust
from greenray.errors import CellError, GreenRayError, Refused, ResourceError
from greenray.tasks import hub
from greenray.tasks.hub import PICKLED, SAFETENSORS

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_OTHER_WEIGHTS = (".xml", ".onnx", ".h5", ".msgpack", ".tflite", ".gguf", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """All that is known of a model before its weights are touched.

    Attributes:
        processor: turns samples into inputs; None where there is none.
        folder: where the weights are; None for fresh ones.
        new_head: whether its classifier is replaced by a fresh one, because its classes were not those of the data.
    """

    ref: ModelRef
    config: Any
    processor: Any
    trust: Trust
    folder: str | None = None
    new_head: bool = False

    @property
    def commit(self) -> str | None:
        """Of a hub model, what the revision stood for when it was fetched."""
        return Path(self.folder).name if self.folder is not None and self.ref.source == "hub" else None

    @property
    def family(self) -> str:
        """The `model_type`; of those that transformers only wraps for timm, the architecture."""
        kind = str(self.config.model_type)
        return str(self.config.architecture) if kind == "timm_wrapper" else kind

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(str(self.config.id2label[index]) for index in sorted(self.config.id2label))


def labels(names: Sequence[str]) -> dict[str, Any]:
    """Classes as fields of a configuration."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def check(ref: ModelRef, *, trust: Trust) -> None:
    """Pass if the model is there, on the disk, in the cache or on the hub, and `trust` allows to load it, else ResourceError."""
    if ref.source == "folder":
        folder = Path(ref.path or ref.id)
        _check_folder(ref, folder)
        found = hub.Found({file.name for file in folder.iterdir()}, hub.json_object(folder / "config.json", of=ref.label))
    elif ref.source == "hub":
        trusted = named(ref, (*trust.pickle, *trust.remote_code))
        found = hub.find_model(ref.id, revision=ref.revision, pickled=trusted)
    else:
        return
    _judge(ref, trust, found)


def _fetch(ref: ModelRef, trust: Trust) -> str:
    """The folder of a hub model, fetched if it is not here; judged again, because the worker's cache is not the driver's."""
    trusted = named(ref, (*trust.pickle, *trust.remote_code))
    found = hub.find_model(ref.id, revision=ref.revision, pickled=trusted)
    _judge(ref, trust, found)
    return str(hub.fetch_model(ref.id, revision=ref.revision, found=found))


def read(ref: ModelRef, *, checkpoint: str | None, trust: Trust, auto_processor: str | None) -> Blueprint:
    """Configuration and processor of a model that is somewhere; `auto_processor` is transformers' class that loads the latter.

    Raises ResourceError if there is none or it cannot be read, Refused if only the config could change that.
    """
    import transformers

    folder = checkpoint if ref.source == "checkpoint" else ref.path if ref.source == "folder" else _fetch(ref, trust)
    if folder is None:
        raise CellError(f"model {ref.label}: the folder of its checkpoint was not given")
    _check_folder(ref, Path(folder))
    code = {"trust_remote_code": named(ref, trust.remote_code)}
    with _loading(ref, trust):
        config = transformers.AutoConfig.from_pretrained(folder, **code)
        auto = getattr(transformers, auto_processor) if auto_processor else None
        processor = auto.from_pretrained(folder, **code) if auto else None
    if getattr(config, "quantization_config", None) is not None:
        raise Refused(
            f"model {ref.label} is quantised already (quantization_config in its config.json), so there is no fp32 baseline "
            "to compare with: name the model that it was made from."
        )
    return Blueprint(ref=ref, config=config, processor=processor, trust=trust, folder=folder)


def build(plan: Blueprint, *, auto_model: str) -> "nn.Module":
    """The model in evaluation mode, fp32, on the CPU; `auto_model` is transformers' class that loads it.

    Raises ResourceError if the weights cannot be loaded, Refused if only `trust` could change that.
    """
    import torch
    import transformers

    auto = getattr(transformers, auto_model)
    if plan.folder is None:
        return cast("nn.Module", auto.from_config(plan.config, dtype=torch.float32).eval())
    with _loading(plan.ref, plan.trust):
        model, told = auto.from_pretrained(
            plan.folder,
            config=plan.config,
            dtype=torch.float32,  # else the checkpoint's own, which may be half
            use_safetensors=None if named(plan.ref, plan.trust.pickle) else True,
            ignore_mismatched_sizes=True,  # told below
            trust_remote_code=named(plan.ref, plan.trust.remote_code),
            output_loading_info=True,
        )
    parameters = {name for name, _ in model.named_parameters()}
    unfit = sorted(parameters & {*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
    if unfit and not plan.new_head:  # these were filled at random
        beside = f", and {len(told['unexpected_keys'])} that it does not know" if told["unexpected_keys"] else ""
        raise Refused(
            f"model {plan.ref.label}: its weights do not fit its architecture: {len(unfit)} tensors are missing or of another "
            f"shape ({unfit[0]}, ...){beside}, as after quantisation or pruning elsewhere: name the model that it was made from."
        )
    return cast("nn.Module", model.eval())


def skeleton(plan: Blueprint, *, auto_model: str) -> "nn.Module":
    """The same architecture without weights, on the meta device, for counting operations."""
    import torch
    import transformers

    trusted = named(plan.ref, plan.trust.remote_code)
    with torch.device("meta"):
        model = getattr(transformers, auto_model).from_config(plan.config, trust_remote_code=trusted)
    return cast("nn.Module", model.eval())


def save(model: "nn.Module", processor: Any, folder: Path) -> None:
    """Write model (safetensors) and processor, so that `read` and `build` find both."""
    folder.mkdir(parents=True, exist_ok=True)
    cast("PreTrainedModel", model).save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)


def from_files(auto_processor: str, files: Mapping[str, Mapping[str, Any]]) -> Any:
    """A processor loaded like a saved one, so that transformers picks its backend; `files` is JSON by file name."""
    import transformers

    with tempfile.TemporaryDirectory(prefix="greenray-") as folder:
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content))
        return getattr(transformers, auto_processor).from_pretrained(folder)


def named(ref: ModelRef, allowed: Sequence[str]) -> bool:
    return bool({ref.id, ref.path} & set(allowed))


def _judge(ref: ModelRef, trust: Trust, found: hub.Found) -> None:
    """Pass if the model can be loaded under `trust`, judged by its files and its configuration."""
    if named(ref, trust.remote_code):
        return
    files, config = found
    if "AutoConfig" in (config.get("auto_map") or ()) and not _known_to_transformers(str(config.get("model_type"))):
        raise hub.Unobtainable(_needs_code(ref))
    if any(name in files for name in SAFETENSORS):
        return
    if not any(name in files for name in PICKLED):
        raise hub.Unobtainable(_has_no_weights(ref, files))
    if not named(ref, trust.pickle):
        raise hub.Unobtainable(_needs_pickle(ref))


def _has_no_weights(ref: ModelRef, files: Collection[str]) -> str:
    if "adapter_config.json" in files:
        return (
            f"model {ref.label} is an adapter (LoRA) without the weights that it changes: merge it into its base model "
            "(peft's merge_and_unload), save that and name its folder."
        )
    others = sorted(name for name in files if name.endswith(_OTHER_WEIGHTS))
    has = f"model {ref.label} has no weights: neither {SAFETENSORS[0]} nor its index is there"
    return f"{has}, only those for other programs ({others[0]}): name the model that it was made from." if others else f"{has}."


def _needs_pickle(ref: ModelRef) -> str:
    return (
        f"model {ref.label} has no model.safetensors, and loading pickled weights ({PICKLED[0]}) can run code: "
        f"convert them to safetensors, or allow it in the config with trust: {{pickle: [{ref.id}]}}."
    )


def _needs_code(ref: ModelRef) -> str:
    return (
        f"model {ref.label} brings code of its own (auto_map in its config.json), which is not run: "
        f"read it, then allow it in the config with trust: {{remote_code: [{ref.id}]}}."
    )


def _known_to_transformers(model_type: str) -> bool:
    """Whether transformers has code for such models; by its own lists as text, since importing them would import torch."""
    spec = importlib.util.find_spec("transformers")
    lists = Path(spec.origin).parent.glob("models/auto/*auto*.py") if spec is not None and spec.origin else ()
    return any(f'"{model_type}"' in file.read_text() for file in lists)


@contextmanager
def _loading(ref: ModelRef, trust: Trust) -> Iterator[None]:
    """Turns what transformers raises into one sentence. What `check` could not see before the first cell is refused here."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
        found: GreenRayError = ResourceError(f"model {ref.label} cannot be loaded: {text[:300]}")
        if "trust_remote_code=True" in text and not named(ref, trust.remote_code):
            found = Refused(_needs_code(ref))
        elif "file named model.safetensors" in text and not named(ref, trust.pickle):
            found = Refused(_needs_pickle(ref))
        raise found from error


def _check_folder(ref: ModelRef, folder: Path) -> None:
    if not folder.is_dir():
        raise ResourceError(f"model {ref.label}: there is no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ResourceError(f"model {ref.label}: {folder} has no config.json, so it is no model saved by transformers.")
