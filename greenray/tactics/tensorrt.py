"""TensorRT through torch-tensorrt: torch.compile with engines in place of inductor's kernels.

Parts of the graph that TensorRT cannot take run in torch, and an engine that cannot be built is left out with a warning: what was
built is counted, and none at all is `not_applied`.
"""

import gc
import importlib.util
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from greenray.errors import NotApplied, Unsupported, first_line
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic
from greenray.tactics.compile import dynamo_counts

if TYPE_CHECKING:
    from torch import nn

# The two runtimes' modules, of which one holds each engine.
_ENGINES = ("TorchTensorRTModule", "PythonTorchTensorRTModule")


class TensorRTParams(Params):
    """What is passed to torch-tensorrt's backend.

    Attributes:
        precision: `model` builds engines of the types that the model computes with (`[fp16, tensorrt]` is a chain for fp16 in
            all of it); `fp16` and `bf16` let torch-tensorrt cast what it holds safe inside an fp32 model.
        optimization_level: TensorRT's, 0 to 5: higher ones build longer; None is its default.
        min_block_size: least number of operations that are worth an engine.
    """

    precision: Literal["model", "fp16", "bf16"] = "model"
    optimization_level: int | None = Field(default=None, ge=0, le=5)
    min_block_size: int = Field(default=5, ge=1, le=1000)


class TensorRT(Tactic[TensorRTParams]):
    """`torch.compile(backend="torch_tensorrt")`, in place, so that the model's state and attributes stay what they were."""

    name = "tensorrt"
    summary = "Compiles the model into TensorRT engines (torch-tensorrt); building them is charged as one-off cost."
    devices = ("cuda",)
    needs = "the package torch-tensorrt of torch's own version (`pip install greenray[tensorrt]`)"
    source = "https://docs.pytorch.org/TensorRT/"
    allocates_itself = True
    Params = TensorRTParams

    def check(self, context: Context) -> None:
        if context.device != "cuda":
            raise Unsupported(
                "tensorrt runs on NVIDIA's boards: measure it with `devices: [cuda]`, or use onnxruntime on the cpu"
            )
        if context.training:
            raise Unsupported("tensorrt runs models and does not train them; use it in an inference experiment")
        context.require_last(self.name, why="tensorrt compiles what stands before it in the chain")
        if importlib.util.find_spec("torch_tensorrt") is None:
            raise Unsupported("tensorrt needs the package torch-tensorrt: `pip install greenray[tensorrt]`")
        try:
            import torch_tensorrt  # noqa: F401  # registers the backend; here, so that it is no cost of the tactic
        except (ImportError, OSError, RuntimeError) as error:
            raise Unsupported(f"torch-tensorrt cannot be imported ({first_line(error)}); install that of this torch") from error

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        self._before = dynamo_counts()
        model.compile(backend="torch_tensorrt", dynamic=False, options=self.options())
        with torch.inference_mode():
            model(**context.example)  # builds the engines
        return model

    def options(self) -> dict[str, Any]:
        """Settings of `torch_tensorrt.dynamo.CompilationSettings`; what is left out is its default."""
        import torch

        options: dict[str, Any] = {
            "min_block_size": self.params.min_block_size,
            "use_explicit_typing": True,
            "disable_tf32": not torch.backends.cuda.matmul.allow_tf32,  # its own default is on, whatever torch computes with
        }
        if self.params.optimization_level is not None:
            options["optimization_level"] = self.params.optimization_level
        if self.params.precision != "model":
            low = {"fp16": torch.float16, "bf16": torch.bfloat16}[self.params.precision]
            options |= {"enable_autocast": True, "autocast_low_precision_type": low}
        return options

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        import torch_tensorrt

        # They hang on compiled frames, which no module lists.
        engines = sum(type(one).__name__ in _ENGINES for one in gc.get_objects())
        found = {
            "engines": engines,
            **{name: count - self._before[name] for name, count in dynamo_counts().items()},
            "precision": self.params.precision,
            "torch_tensorrt_version": str(torch_tensorrt.__version__),
        }
        if not engines:
            raise NotApplied("TensorRT built no engine; the model ran in torch, and the cell's log says why", evidence=found)
        return found

    def touched(self) -> frozenset[str]:
        return WHOLE_MODEL  # parts that it cannot take are compiled too, and counted in the evidence

    def compilations(self) -> int:
        return dynamo_counts()["frames"]
