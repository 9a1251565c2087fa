"""Which tactics there are, alone and in a chain. To add one: a file with its class, and a line here."""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greenray.errors import CellError, ConfigError
from greenray.tactics.base import WHOLE_MODEL, Context, Progress, Tactic

if TYPE_CHECKING:
    from torch import nn

    from greenray.tasks.training_step import TrainingStep

TACTICS: dict[str, str] = {
    "attention": "greenray.tactics.attention:Attention",
    "autocast": "greenray.tactics.autocast:Autocast",
    "baseline": "greenray.tactics.base:Baseline",
    "batch-size": "greenray.tactics.batch_size:BatchSize",
    "bf16": "greenray.tactics.cast:BFloat16",
    "channels-last": "greenray.tactics.channels_last:ChannelsLast",
    "compile": "greenray.tactics.compile:Compile",
    "cudnn-benchmark": "greenray.tactics.switches:CudnnBenchmark",
    "dynamic-quantization": "greenray.tactics.dynamic_quantization:DynamicQuantization",
    "early-stopping": "greenray.tactics.early_stopping:EarlyStopping",
    "fp16": "greenray.tactics.cast:Float16",
    "fp8-dynamic": "greenray.tactics.quantize:Fp8Dynamic",
    "int4-weight-only": "greenray.tactics.quantize:Int4WeightOnly",
    "int8-dynamic": "greenray.tactics.quantize:Int8Dynamic",
    "int8-weight-only": "greenray.tactics.quantize:Int8WeightOnly",
    "null-check": "greenray.tactics.null_check:NullCheck",
    "onnxruntime": "greenray.tactics.onnx_runtime:OnnxRuntime",
    "power-limit": "greenray.tactics.power_limit:PowerLimit",
    "prune-global": "greenray.tactics.prune:PruneGlobal",
    "prune-gradual": "greenray.tactics.prune_gradual:PruneGradual",
    "prune-local": "greenray.tactics.prune:PruneLocal",
    "prune-structured": "greenray.tactics.structured:PruneStructured",
    "sparse-2-4": "greenray.tactics.sparse:Sparse24",
    "tensorrt": "greenray.tactics.tensorrt:TensorRT",
    "tf32": "greenray.tactics.switches:TensorFloat32",
}


def resolve(registry: Mapping[str, str], name: str, *, kind: str) -> Any:
    """What stands behind a name; its module is imported now and not before. Raises ConfigError with the names there are."""
    if name not in registry:
        raise ConfigError(f"unknown {kind} {name!r}; there are {', '.join(sorted(registry))}")
    return pkgutil.resolve_name(registry[name])


def tactic_class(name: str) -> type[Tactic[Any]]:
    """The class behind a name; raises ConfigError if there is none."""
    found: type[Tactic[Any]] = resolve(TACTICS, name, kind="tactic")
    return found


def build(name: str, params: Mapping[str, Any] | None = None) -> Tactic[Any]:
    """A tactic with its parameters, defaults filled in; raises ConfigError or pydantic.ValidationError."""
    cls = tactic_class(name)
    return cls(cls.Params.model_validate(dict(params or {})))


class Chain:
    """The tactics of a cell, applied in order; evidence and errors name the tactic they come from."""

    def __init__(self, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self._tactics: list[Tactic[Any]] = [build(name, params) for name, params in steps]
        self._applied: list[Tactic[Any]] = []

    def check(self, context: Context) -> None:
        """Raises Unsupported if any of them cannot run here, NotApplied if one is sure to change nothing.

        To be called before anything is loaded.
        """
        for tactic, place in self._places(context):
            try:
                tactic.check(place)
            except CellError as error:
                error.evidence = {tactic.name: error.evidence} if error.evidence else {}
                raise

    def batch_size(self, asked: int) -> int:
        """Samples in a batch of the cell, where `asked` are in the block's."""
        for tactic in self._tactics:
            asked = tactic.batch_size(asked)
        return asked

    @property
    def allocates_itself(self) -> bool:
        return any(tactic.allocates_itself for tactic in self._tactics)

    @property
    def changes_hardware(self) -> bool:
        return any(tactic.changes_hardware for tactic in self._tactics)

    def board_power_limit_w(self, *, default_w: float) -> float | None:
        """The board's power limit while the cell runs, by the last that asks for one; None: as it is."""
        asked = [tactic.board_power_limit_w(default_w=default_w) for tactic in self._tactics]
        return next((watts for watts in reversed(asked) if watts is not None), None)

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        """The model after all of them; raises NotApplied and Unsupported with the evidence of the steps before."""
        for tactic, place in self._places(context):
            try:
                model = tactic.apply(model, place)
            except CellError as error:
                error.evidence = {**self.evidence(model), tactic.name: error.evidence}
                raise
            self._applied.append(tactic)
        return model

    def _places(self, context: Context) -> Iterator[tuple[Tactic[Any], Context]]:
        """Each tactic, with its place in the chain."""
        for position, tactic in enumerate(self._tactics, start=1):
            yield tactic, replace(context, later=tuple(other.name for other in self._tactics[position:]))

    def prepare_training(self, step: "TrainingStep") -> None:
        """Let each of them wrap the training step; a later one wraps what an earlier one made of it."""
        for tactic in self._applied:
            tactic.prepare_training(step)

    def held_out_share(self) -> float:
        """Share of the samples to learn from that training validates on: the largest that one of them asks for."""
        return max((tactic.held_out_share() for tactic in self._tactics), default=0.0)

    def is_enough(self, progress: Progress) -> bool:
        """Whether one of them ends training here; all of them hear of the progress."""
        words = [tactic.is_enough(progress) for tactic in self._tactics]
        return any(words)

    @contextmanager
    def evaluating(self, model: "nn.Module") -> Iterator[None]:
        """Around answers that a model in the midst of training gives."""
        with ExitStack() as stack:
            for tactic in self._applied:
                stack.enter_context(tactic.evaluating(model))
            yield

    def end_training(self, model: "nn.Module") -> None:
        """The model as it is to be evaluated and saved."""
        for tactic in self._applied:
            tactic.end_training(model)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        """Evidence of each tactic that has some, by its name."""
        found: dict[str, Any] = {}
        for tactic in self._applied:
            try:
                found[tactic.name] = tactic.evidence(model)
            except CellError as error:
                error.evidence = {**found, tactic.name: error.evidence}
                raise
        return {name: evidence for name, evidence in found.items() if evidence}

    def touched(self) -> frozenset[str] | None:
        """Names of the loaded model's modules that any of them touched; None where one does not tell and none took all of it."""
        told = [tactic.touched() for tactic in self._applied]
        if WHOLE_MODEL in told:
            return WHOLE_MODEL
        known = [names for names in told if names is not None]
        return frozenset().union(*known) if len(known) == len(told) else None

    def compilations(self) -> int:
        """How often code was compiled so far, over all tactics."""
        return max((tactic.compilations() for tactic in self._tactics), default=0)
