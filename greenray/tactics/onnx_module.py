"""A module that answers with an ONNX session: the same keywords, the same structure of outputs, tensors on the same device."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from greenray.errors import Unsupported, first_line

_ELEMENTS = {
    torch.float32: "FLOAT",
    torch.float16: "FLOAT16",
    torch.bfloat16: "BFLOAT16",
    torch.float64: "DOUBLE",
    torch.int64: "INT64",
    torch.int32: "INT32",
    torch.int8: "INT8",
    torch.uint8: "UINT8",
    torch.bool: "BOOL",
}
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serialised:
    """An exported model: its bytes, the version of ONNX's operators, and how many nodes its graph has."""

    model: bytes
    opset: int
    nodes: int


class _Leaves(nn.Module):
    """The model with its outputs, whatever their structure, as a flat tuple; the hooks of the model run inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, **inputs: Tensor) -> tuple[Any, ...]:
        return tuple(pytree.tree_leaves(self.model(**inputs)))


def export(model: nn.Module, example: Mapping[str, Tensor], *, opset: int | None) -> Serialised:
    """The model as ONNX, for the shapes of the example."""
    with torch.inference_mode(False), torch.no_grad():
        # Tensors that were made in inference mode cannot be traced.
        inputs = {name: value.clone() for name, value in example.items()}
        program = torch.onnx.export(_Leaves(model), (), kwargs=inputs, dynamo=True, opset_version=opset, verbose=False)
    assert program is not None  # it is None without dynamo only
    proto = program.model_proto
    for part in (proto.graph, *proto.graph.node):
        part.ClearField("metadata_props")  # where in the source code it came from, and no part of the model
        part.ClearField("doc_string")
    version = next(entry.version for entry in proto.opset_import if not entry.domain)
    return Serialised(model=proto.SerializeToString(), opset=int(version), nodes=len(proto.graph.node))


class OnnxModule(nn.Module):
    """Runs a session on torch's own memory, in an order with torch's stream.

    Its state is the serialised model, so that its size is told, and what is in it is not taken for parameters of torch.
    """

    def __init__(self, serialised: Serialised, *, device: str, provider: str, optimization: str, outputs: Any) -> None:
        """Load the model; `outputs` are those of the torch model for the example, which tell structure, shapes and types."""
        super().__init__()
        self._serialised = serialised.model
        self._device = device
        self._stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
        self.session = _session(serialised.model, provider=provider, optimization=optimization, stream=self._stream)
        if self.session.get_providers()[0] != provider:
            raise Unsupported(
                f"ONNX Runtime could not start its {provider} and would run on the processor: see the cell's log for the library "
                "that it misses"
            )
        leaves, self._structure = pytree.tree_flatten(outputs)
        self._outputs = [
            (made.name, leaf.shape, leaf.dtype) for made, leaf in zip(self.session.get_outputs(), leaves, strict=True)
        ]
        self._inputs = [wanted.name for wanted in self.session.get_inputs()]
        self.eval()

    def nodes_by_provider(self) -> Counter[str]:
        """How many nodes of the graph, after optimisation, each provider runs."""
        found: Counter[str] = Counter()
        for part in self.session.get_provider_graph_assignment_info():
            found[part.ep_name] += len(part.get_nodes())
        return found

    def forward(self, **inputs: Tensor) -> Any:
        binding = self.session.io_binding()
        held = [inputs[name].contiguous() for name in self._inputs]
        for name, tensor in zip(self._inputs, held, strict=True):
            binding.bind_input(name, self._device, 0, _element(tensor.dtype), tuple(tensor.shape), tensor.data_ptr())
        made = []
        for name, shape, dtype in self._outputs:
            tensor = torch.empty(shape, dtype=dtype, device=self._device)
            binding.bind_output(name, self._device, 0, _element(dtype), tuple(shape), tensor.data_ptr())
            made.append(tensor)
        with _memory_told():
            if self._stream is None:
                self.session.run_with_iobinding(binding)
            else:
                self._stream.wait_stream(torch.cuda.current_stream())
                self.session.run_with_iobinding(binding)
                torch.cuda.current_stream().wait_stream(self._stream)
        return pytree.tree_unflatten(made, self._structure)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"onnx": torch.frombuffer(bytearray(self._serialised), dtype=torch.uint8)}


def _session(model: bytes, *, provider: str, optimization: str, stream: "torch.cuda.Stream | None") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[optimization])
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings: dict[str, str] = {}
    if stream is not None:
        # Its own default is on, whatever torch computes with.
        settings = {"use_tf32": str(int(torch.backends.cuda.matmul.allow_tf32)), "user_compute_stream": str(stream.cuda_stream)}
    cpu = [] if provider == "CPUExecutionProvider" else ["CPUExecutionProvider"]
    with _memory_told():
        return onnxruntime.InferenceSession(model, options, providers=[(provider, settings), *cpu])


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
    """ONNX Runtime says in words only that memory ran out."""
    try:
        yield
    except Exception as error:
        if "allocate memory" in str(error):
            raise MemoryError(first_line(error)) from error
        raise


def _element(dtype: torch.dtype) -> int:
    """ONNX's number of a type of torch's."""
    from onnx import TensorProto

    return int(getattr(TensorProto, _ELEMENTS[dtype]))
