"""What a model's heavy layers give out and move, by its architecture alone: nothing is measured, nothing depends on a device.

The layers are those whose multiply-accumulates are counted (`footprint.operations_per_sample`): linear layers, convolutions and
the two products of attention. What works element by element (activation functions, norms, softmax) is left out, as it is there.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import nn


class Traffic(NamedTuple):
    """Of one sample: numbers given out, and bytes read and written."""

    activations: float
    bytes_moved: float


def traffic_per_sample(skeleton: "nn.Module", one: "Mapping[str, torch.Tensor]", *, batch_size: int) -> Traffic:
    """What the heavy layers give out and move in a pass over a batch, divided by its samples.

    Each layer reads its inputs and its weights and writes its output, all in the type that the skeleton has; weights are read
    once a batch, so a larger one shares them. No cache is assumed, and attention is its two products, scores written and read:
    a fused kernel moves less. This is the demand that a roofline is fed with, not what a memory bus would count.

    Args:
        skeleton: the model, `one` the inputs of one sample (first dimension 1), both on the meta device.
        batch_size: samples in the batch.

    Raises:
        Exception: whatever the model's own code raises on the meta device.
    """
    import torch

    batch = {name: values.new_empty((batch_size, *values.shape[1:])) for name, values in one.items()}
    with torch.no_grad():  # not inference mode, in which linear layers would come as a whole
        counted = _count(skeleton, batch)
    return Traffic(activations=counted.activations / batch_size, bytes_moved=counted.bytes_moved / batch_size)


def _count(skeleton: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> Traffic:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    activations = moved = 0

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal activations, moved
            out = func(*args, **(kwargs or {}))
            if func.overloadpacket in flop_registry:
                read, written = ([x for x in tree_leaves(of) if isinstance(x, torch.Tensor)] for of in ((args, kwargs), out))
                activations += sum(x.numel() for x in written)
                moved += sum(_stored(x) * x.element_size() for x in (*read, *written))
            return out

    with sdpa_kernel(SDPBackend.MATH), Counter():  # type: ignore[no-untyped-call]
        skeleton(**batch)
    return Traffic(activations=activations, bytes_moved=moved)


def _stored(tensor: "torch.Tensor") -> int:
    """Its numbers that are different ones: what is broadcast along a dimension is stored once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= 1 if stride == 0 and size > 1 else size
    return count
