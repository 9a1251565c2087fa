"""Linear layers in int8, int4 and fp8 with torchao: weights alone, or activations too, batch by batch.

A kernel that does not take a layer's shape goes another way without a word: through the CPU, in float32, or not at all. Such
layers are left as they are and named in the evidence.
"""

import importlib.util
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import linear_layers, observe, told_of_skipped

if TYPE_CHECKING:
    from torch import nn

# What torch._int_mm asks for on CUDA.
_INT8_MULTIPLE = 8
_INT8_ROWS_ABOVE = 16
_FP8_MULTIPLE = 16  # torch._scaled_mm
_INT4_PADDED_TO = 1024  # torchao fills up in_features before it packs int4 weights for tensor cores
_SOURCE = "https://docs.pytorch.org/ao/stable/workflows/inference.html"

P = TypeVar("P", bound=Params)


class _Quantize(Tactic[P]):
    """Every `nn.Linear` that the kernels take gets a weight of torchao's."""

    source = _SOURCE

    def check(self, context: Context) -> None:
        if importlib.util.find_spec("torchao") is None:
            raise Unsupported(f"{self.name} needs the package torchao")
        if context.training:
            raise Unsupported("a quantised model cannot be trained; use the tactic in an inference experiment")
        context.require_nothing_for_plain_weights(self.name)
        for cast in ("bf16", "fp16"):
            if cast in context.later:
                raise Unsupported(f"{cast} cannot cast what is quantised already: write {cast}+{self.name}")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        from torchao.quantization import quantize_

        linear = linear_layers(model, tactic=self.name)
        self._eligible, self._skipped = len(linear), self._refused(model, linear, context)
        self._chosen = {name: layer for name, layer in linear.items() if name not in self._skipped}
        self._prepare(self._chosen)
        quantize_(model, self._config(), filter_fn=lambda module, name: name in self._chosen)
        if not self.evidence(model)["modules_converted"]:
            reason = f"none of the {len(linear)} linear layers has a usable shape" if linear else "the model has no linear layer"
            raise NotApplied(f"{reason} to quantise", evidence=self.evidence(model))
        return model

    @abstractmethod
    def _config(self) -> Any:
        """torchao's configuration.

        Inductor's settings are left to the `compile` tactic: otherwise it would not be the same compiler with and without.
        """

    def _refused(self, model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
        """Layers that are left as they are, with the reason."""
        return {}

    def _prepare(self, chosen: "dict[str, nn.Linear]") -> None:
        """What the layers need before they are quantised."""

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        from torchao.utils import TorchAOBaseTensor

        converted = {name: layer for name, layer in self._chosen.items() if isinstance(layer.weight, TorchAOBaseTensor)}
        self._converted, layers = frozenset(converted), converted.values()
        devices = sorted({layer.weight.device.type for layer in layers})
        return {
            "modules_converted": len(layers),
            "modules_eligible": self._eligible,
            "weights_converted": sum(layer.in_features * layer.out_features for layer in layers),
            "weight_types": sorted({type(layer.weight).__name__ for layer in layers}),
            **told_of_skipped(self._skipped),
            "kernels_device": devices[0] if len(devices) == 1 else devices,
        }

    def touched(self) -> frozenset[str]:
        return self._converted


class Int8Dynamic(_Quantize[Params]):
    """torchao's `Int8DynamicActivationInt8WeightConfig`."""

    name = "int8-dynamic"
    summary = "int8 weights and activations quantised batch by batch in linear layers (torchao); faster mostly under compile."
    needs = "torchao; on CUDA compute capability 8.0 or later, and compile behind it"

    def check(self, context: Context) -> None:
        import torch

        super().check(context)
        if context.device != "cuda":
            return
        if "compile" not in context.later:
            raise Unsupported(
                "int8-dynamic on CUDA would measure Python: without compile torchao asks repr() of every activation, "
                "a copy from the device to the host in every layer; write int8-dynamic+compile"
            )
        a, b = (torch.ones(32, 32, dtype=torch.int8, device="cuda") for _ in range(2))
        try:
            torch._int_mm(a, b)
        except RuntimeError as error:
            raise Unsupported(
                "this board has no int8 matrix multiplication (torch._int_mm); measure the tactic with `devices: [cpu]`"
            ) from error

    def _config(self) -> Any:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig

        return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, version=2)

    def _refused(self, model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
        if context.device != "cuda":
            return {}
        calls = observe(model, linear, context.example)
        refused = _no_multiple(linear, of=_INT8_MULTIPLE)
        for name in linear.keys() - refused.keys():
            if name not in calls:
                refused[name] = "not called as a module"
            elif calls[name].rows <= _INT8_ROWS_ABOVE:
                refused[name] = f"{calls[name].rows} rows, the kernel needs more than {_INT8_ROWS_ABOVE}"
        return refused


class Int8WeightOnly(_Quantize[Params]):
    """torchao's `Int8WeightOnlyConfig`: a scale for each row of a weight, products in the activations' type."""

    name = "int8-weight-only"
    summary = "int8 weights in linear layers, converted back as they are used (torchao): fewer bytes, the same arithmetic."
    needs = "torchao; compile behind it, or each use writes the converted weight to memory"

    def _config(self) -> Any:
        from torchao.quantization import Int8WeightOnlyConfig

        return Int8WeightOnlyConfig(set_inductor_config=False, version=2)


class Int4Params(Params):
    """`group_size`: weights of a row that share a scale and a zero point."""

    group_size: Literal[32, 64, 128, 256] = 128


class Int4WeightOnly(_Quantize[Int4Params]):
    """torchao's `Int4WeightOnlyConfig` for the tensor-core kernel of torch (tinygemm), which computes in bfloat16."""

    name = "int4-weight-only"
    summary = "int4 weights in linear layers (torchao, tinygemm kernels): a quarter of bf16's bytes; made for small batches."
    devices = ("cuda",)
    needs = "torchao; compute capability 8.0 or later"
    Params = Int4Params

    def check(self, context: Context) -> None:
        super().check(context)
        _require_board(self.name, context, capability=(8, 0), instead="int8-weight-only", on_cpu="int8-weight-only")

    def _config(self) -> Any:
        from torchao.quantization import Int4WeightOnlyConfig
        from torchao.quantization.quantize_.workflows import Int4PackingFormat

        packing = Int4PackingFormat.TILE_PACKED_TO_4D
        size = self.params.group_size
        return Int4WeightOnlyConfig(group_size=size, int4_packing_format=packing, set_inductor_config=False)

    def _refused(self, model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
        size = self.params.group_size
        return {
            name: f"{layer.in_features} inputs are not a multiple of the group of {size}"
            for name, layer in linear.items()
            if layer.in_features % size
        }

    def _prepare(self, chosen: "dict[str, nn.Linear]") -> None:
        import torch

        for layer in chosen.values():  # the kernel casts activations of another type to bfloat16 and its results back
            layer.weight.data = layer.weight.data.to(torch.bfloat16)
        self._padded = sum(layer.in_features % _INT4_PADDED_TO != 0 for layer in chosen.values())

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return super().evidence(model) | {"modules_padded": self._padded, "group_size": self.params.group_size}


class Fp8Params(Params):
    """`granularity`: one scale a tensor, or one for each row of activations and weights, which needs bf16 before it."""

    granularity: Literal["tensor", "row"] = "tensor"


class Fp8Dynamic(_Quantize[Fp8Params]):
    """torchao's `Float8DynamicActivationFloat8WeightConfig` (e4m3)."""

    name = "fp8-dynamic"
    summary = "fp8 weights and activations quantised batch by batch in linear layers (torchao); faster mostly under compile."
    devices = ("cuda",)
    needs = "torchao; compute capability 8.9 or later (Ada, Hopper, Blackwell)"
    Params = Fp8Params

    def check(self, context: Context) -> None:
        super().check(context)
        _require_board(self.name, context, capability=(8, 9), instead="int8-dynamic+compile", on_cpu="int8-dynamic")

    def _config(self) -> Any:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, PerTensor

        granularity = PerRow() if self.params.granularity == "row" else PerTensor()
        return Float8DynamicActivationFloat8WeightConfig(granularity=granularity, set_inductor_config=False)

    def _refused(self, model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
        return _no_multiple(linear, of=_FP8_MULTIPLE)

    def _prepare(self, chosen: "dict[str, nn.Linear]") -> None:
        import torch

        if self.params.granularity == "row" and any(layer.weight.dtype != torch.bfloat16 for layer in chosen.values()):
            raise Unsupported("fp8-dynamic with `granularity: row` takes bfloat16 layers only: write bf16 before it")

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return super().evidence(model) | {"granularity": self.params.granularity}


def _require_board(name: str, context: Context, *, capability: tuple[int, int], instead: str, on_cpu: str) -> None:
    """Pass on a board of this compute capability or a later one."""
    import torch

    if context.device != "cuda":
        raise Unsupported(f"{name} has CUDA kernels only: use {on_cpu} on cpu")
    found = torch.cuda.get_device_capability()
    if found < capability:
        needed, there = (".".join(map(str, version)) for version in (capability, found))
        raise Unsupported(f"{name} needs compute capability {needed} or later, this board has {there}: use {instead}")


def _no_multiple(linear: "dict[str, nn.Linear]", *, of: int) -> dict[str, str]:
    return {
        name: f"{layer.in_features}x{layer.out_features} is not a multiple of {of}"
        for name, layer in linear.items()
        if layer.in_features % of or layer.out_features % of
    }
