"""Which code computes attention: the model's own, torch's scaled_dot_product_attention by a kernel of choice, or flash-attn.

What counts is what runs: the attention operations of one pass are noted before and after, and if they are the same the tactic
was not applied.
"""

import importlib.util
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import dtype_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

_KERNELS = ("flash", "mem_efficient", "cudnn", "math")
_FLASH = {  # package to import: transformers' name for it
    "flash_attn": "flash_attention_2",
    "flash_attn_interface": "flash_attention_3",
}
_OPERATIONS = ("scaled_dot_product", "flash_attn", "softmax")  # parts of the names of what computes attention


class AttentionParams(Params):
    """What computes attention; the baseline is `sdpa` with the kernel that torch chooses.

    Attributes:
        implementation: `eager` is the model's own matrix products and softmax, `flash` the package flash-attn.
        kernel: the only kernel that `sdpa` may use; `auto` leaves the choice to torch. On cpu there are flash and math.
    """

    implementation: Literal["eager", "sdpa", "flash"] = "eager"
    kernel: Literal["auto", "flash", "mem_efficient", "cudnn", "math"] = "auto"

    @model_validator(mode="after")
    def _kernels_are_sdpas(self) -> "AttentionParams":
        if self.kernel != "auto" and self.implementation != "sdpa":
            raise ValueError(f"kernel: {self.kernel} is one of sdpa: set implementation: sdpa, or leave kernel out")
        return self


class Attention(Tactic[AttentionParams]):
    """Attention by another implementation than the baseline's, through transformers' attention interface."""

    name = "attention"
    summary = "Computes attention by the model's own code (eager), by a chosen kernel of torch's sdpa, or by flash-attn."
    needs = "a model of transformers; flash-attn for `implementation: flash`; bf16 or fp16 before it for flash kernels on CUDA"
    source = "https://huggingface.co/docs/transformers/attention_interface"
    Params = AttentionParams

    def check(self, context: Context) -> None:
        context.require_torchs_kernels(self.name, what="kernels for attention")
        implementation, kernel = self.params.implementation, self.params.kernel
        if implementation == "eager" and "compile" in context.later:
            raise Unsupported("compile recognises the model's own attention and puts sdpa back: measure one of the two alone")
        if context.device == "cpu" and kernel in ("mem_efficient", "cudnn"):
            raise Unsupported(f"sdpa has no {kernel} kernel on cpu: use kernel: flash or math")
        if implementation != "flash":
            return
        if context.device == "cpu":
            raise Unsupported("flash-attn has CUDA kernels only: use implementation: sdpa on cpu")
        if self._package() is None:
            raise Unsupported("flash-attn is not installed: install it, or use implementation: sdpa with kernel: flash")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        before = attention_operations(model, context.example)
        if not before:
            raise NotApplied("the model computes no attention", evidence={"operations": {}})
        self._choose_kernel()
        self._set_implementation(model)
        try:
            after = attention_operations(model, context.example)
        except RuntimeError as error:  # torch and flash-attn say so when they have no kernel for these tensors
            if "out of memory" in str(error):
                raise
            dtype = dtype_name(next(model.parameters()).dtype)
            raise Unsupported(
                f"no such attention for this model in {dtype}: {error}; a cast (bf16) before it may help"
            ) from error
        self._evidence = {"operations": after, "operations_before": before}
        if after == before:
            raise NotApplied("attention is computed by the same operations as before", evidence=self._evidence)
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return {**self._evidence, "implementation": getattr(getattr(model, "config", None), "_attn_implementation", None)}

    def _package(self) -> str | None:
        """The package of flash-attn that is installed, by the name that it is imported by."""
        return next((package for package in _FLASH if importlib.util.find_spec(package) is not None), None)

    def _set_implementation(self, model: "nn.Module") -> None:
        implementation: str = self.params.implementation
        if implementation == "flash":
            implementation = _FLASH[self._package() or "flash_attn"]
        config = getattr(model, "config", None)
        if getattr(config, "_attn_implementation", None) == implementation:
            return
        choose: Any = getattr(model, "set_attn_implementation", None)
        if choose is None:
            raise Unsupported("the model does not let its attention be chosen; use sdpa kernels or compile")
        try:
            choose(implementation)
        except (ImportError, ValueError) as error:
            raise Unsupported(f"the model does not support {implementation}: {error}") from error
        if getattr(config, "_attn_implementation", None) != implementation:  # then transformers has only logged a warning
            raise Unsupported("the model does not let its attention be chosen; use sdpa kernels or compile")

    def _choose_kernel(self) -> None:
        import torch

        if self.params.kernel == "auto":
            return
        switches = torch.backends.cuda  # for the kernels of the CPU too
        for kernel in _KERNELS:
            getattr(switches, f"enable_{kernel}_sdp")(kernel == self.params.kernel)


def attention_operations(model: "nn.Module", example: "Mapping[str, Tensor]") -> dict[str, int]:
    """How often one pass over the example calls each operation that computes attention."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: Counter[str] = Counter()

    class Note(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            with self:  # under inference_mode composite operations arrive whole; what they consist of is wanted
                parts = function.decompose(*args, **kwargs) if isinstance(function, torch._ops.OpOverload) else NotImplemented
            if parts is not NotImplemented:
                return parts
            name = str(function).removesuffix(".default")
            if any(part in name for part in _OPERATIONS):
                found[name] += 1
            return function(*args, **kwargs)

    with torch.no_grad(), Note():  # type: ignore[no-untyped-call]
        model(**example)
    return dict(sorted(found.items()))
