"""2:4 sparsity: two of every four weights are zero, and the matrix units of Ampere and later skip them."""

from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import linear_layers, told_of_skipped

if TYPE_CHECKING:
    from torch import Tensor, nn

_CASTS = ("bf16", "fp16")


class Sparse24(Tactic[Params]):
    """`torch.sparse.to_sparse_semi_structured` of every `nn.Linear` whose shape the kernels take.

    Of each four neighbours in a row the two smallest are pruned first: without that the packed weights would be others than
    those of the model, without a word.
    """

    name = "sparse-2-4"
    summary = "Prunes linear layers to two of four weights by magnitude and packs them for sparse matrix units."
    devices = ("cuda",)
    needs = "compute capability 8.0 or later, after `bf16` or `fp16` in a chain; accuracy falls without training afterwards"
    source = "https://arxiv.org/abs/2104.08378"

    def check(self, context: Context) -> None:
        if context.device != "cuda":
            raise Unsupported("sparse-2-4 has CUDA kernels only: measure it with `devices: [cuda]`, or use prune-local")
        if context.training:
            raise Unsupported("sparse-2-4 packs weights that cannot be trained; use it in an inference experiment")
        context.require_nothing_for_plain_weights(self.name)
        import torch

        if (capability := torch.cuda.get_device_capability()) < (8, 0):
            raise Unsupported(
                "sparse-2-4 needs sparse matrix units, which came with compute capability 8.0; this board has "
                f"{'.'.join(map(str, capability))}: use prune-local or prune-structured"
            )
        if cast := next((name for name in context.later if name in _CASTS), None):
            raise Unsupported(f"sparse-2-4 packs 16-bit weights: write the chain as [{cast}, sparse-2-4]")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch
        from torch.sparse import SparseSemiStructuredTensor, to_sparse_semi_structured

        linear = linear_layers(model, tactic=self.name)
        halves = (torch.float16, torch.bfloat16)
        if linear and all(module.weight.dtype not in halves for module in linear.values()):
            raise Unsupported("sparse-2-4 packs 16-bit weights: put bf16 or fp16 before it, as in [bf16, sparse-2-4]")
        skipped = {name: reason for name, module in linear.items() if (reason := refusal(module.weight)) is not None}
        chosen = {name: module for name, module in linear.items() if name not in skipped}
        self._evidence = {
            "modules_converted": len(chosen),
            "modules_eligible": len(linear),
            "weights_converted": sum(module.weight.numel() for module in chosen.values()),
            **told_of_skipped(skipped),
        }
        if not chosen:
            reason = f"none of the {len(linear)} linear layers has a shape that can be packed" if linear else "no linear layer"
            raise NotApplied(f"the model has nothing for 2:4 sparsity: {reason}", evidence=self._evidence)
        # Of two libraries torch takes this one without asking whether it is there.
        SparseSemiStructuredTensor._FORCE_CUTLASS = not torch.backends.cusparselt.is_available()
        for module in chosen.values():
            packed = to_sparse_semi_structured(two_of_four(module.weight.detach()))
            module.weight = torch.nn.Parameter(packed, requires_grad=False)
        self._evidence["backend"] = str(packed.BACKEND)
        self._converted = frozenset(chosen)
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        from torch.sparse import SparseSemiStructuredTensor

        packed = sum(isinstance(getattr(module, "weight", None), SparseSemiStructuredTensor) for module in model.modules())
        return self._evidence | {"modules_packed": packed}

    def touched(self) -> frozenset[str]:
        return self._converted


def two_of_four(weight: "Tensor") -> "Tensor":
    """A copy, shape (rows, columns), in which of each four neighbours of a row the two of smallest magnitude are zero."""
    import torch

    fours = weight.reshape(-1, 4)
    kept = fours.abs().topk(2, dim=1).indices
    return torch.zeros_like(fours).scatter(1, kept, fours.gather(1, kept)).view_as(weight)


def refusal(weight: "Tensor") -> str | None:
    """Why a layer's weight cannot be packed; None if it can. The bounds are torch's own, of the library that it will use."""
    import torch

    cutlass, cusparselt = torch.sparse.SparseSemiStructuredTensorCUTLASS, torch.sparse.SparseSemiStructuredTensorCUSPARSELT
    backend: Any = cusparselt if torch.backends.cusparselt.is_available() else cutlass
    bounds = backend._DTYPE_SHAPE_CONSTRAINTS.get(weight.dtype)
    if bounds is None:
        return f"{str(weight.dtype).removeprefix('torch.')} cannot be packed"
    rows, columns = weight.shape
    least = (bounds.sparse_min_rows, bounds.sparse_min_cols)
    if rows % least[0] or columns % least[1]:
        return f"{rows}x{columns} is not a multiple of {least[0]}x{least[1]}"
    return None
