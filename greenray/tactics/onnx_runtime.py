"""The model exported to ONNX and run by ONNX Runtime, on the same tensors: nothing is copied to the host on the way.

The graph is traced for the shape of the example, as every batch of a load has it.
"""

import importlib
import importlib.util
import logging
import warnings
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from greenray.errors import CellError, Unsupported, first_line
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LEAST_RUNTIME = (1, 24)  # tells which provider runs a node
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MOST_BYTES = 2**31 - 2**20  # what one protobuf message holds


class OnnxRuntimeParams(Params):
    """How the model is exported and run.

    Attributes:
        opset: of ONNX's operators; None is what torch exports to by default.
        optimization: how far ONNX Runtime rewrites the graph when it is loaded.
    """

    opset: int | None = Field(default=None, ge=18, le=30)
    optimization: Literal["all", "extended", "basic", "disabled"] = "all"


class OnnxRuntime(Tactic[OnnxRuntimeParams]):
    """`torch.onnx.export`, then an `onnxruntime.InferenceSession` on the cell's device with the cell's threads."""

    name = "onnxruntime"
    summary = "Exports the model to ONNX and runs it with ONNX Runtime's kernels, in place of torch."
    needs = "`pip install greenray[onnxruntime]`; on CUDA the package onnxruntime-gpu in place of onnxruntime"
    source = "https://onnxruntime.ai/docs/"
    allocates_itself = True
    Params = OnnxRuntimeParams

    def check(self, context: Context) -> None:
        if context.training:
            raise Unsupported("onnxruntime runs models and does not train them; use it in an inference experiment")
        context.require_last(self.name, why="after onnxruntime there is no torch model left to change")
        if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
            raise Unsupported(f"onnxruntime needs {' and '.join(missing)}: `pip install greenray[onnxruntime]`")
        onnxruntime, *_ = [importlib.import_module(name) for name in reversed(_PACKAGES)]  # here: they are no cost of the tactic
        if tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < _LEAST_RUNTIME:
            raise Unsupported(
                f"onnxruntime {onnxruntime.__version__} is too old; install {'.'.join(map(str, _LEAST_RUNTIME))} or later"
            )
        if _PROVIDERS[context.device] not in onnxruntime.get_available_providers():
            raise Unsupported(
                "this onnxruntime runs on processors only: `pip uninstall onnxruntime` and `pip install onnxruntime-gpu`, "
                "or measure it with `devices: [cpu]`"
            )

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        from greenray.tactics.onnx_module import OnnxModule, export

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                with torch.inference_mode():
                    outputs = model(**context.example)
                serialised = export(model, context.example, opset=self.params.opset)
            except (torch.onnx.OnnxExporterError, NotImplementedError, torch._dynamo.exc.Unsupported) as error:
                raise Unsupported(
                    f"torch cannot export this model to ONNX ({first_line(error.__cause__ or error)}); use compile"
                ) from error
        if len(serialised.model) > _MOST_BYTES:
            raise Unsupported("the model has more than the 2 GiB that a file of ONNX holds; cast it with fp16 or bf16 before")
        try:
            engine = OnnxModule(
                serialised,
                device=context.device,
                provider=_PROVIDERS[context.device],
                optimization=self.params.optimization,
                outputs=outputs,
            )
        except (CellError, MemoryError):
            raise
        except Exception as error:  # its errors have no common base
            raise Unsupported(f"ONNX Runtime cannot run the model ({first_line(error)}); leave out the cast before it") from error
        self._evidence = {
            "provider": engine.session.get_providers()[0],
            "opset": serialised.opset,
            "nodes_exported": serialised.nodes,
            "nodes_by_provider": dict(engine.nodes_by_provider()),
            "graph_optimization": self.params.optimization,
            "threads": torch.get_num_threads(),
            "onnxruntime_version": importlib.import_module("onnxruntime").__version__,
        }
        return engine

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return WHOLE_MODEL
