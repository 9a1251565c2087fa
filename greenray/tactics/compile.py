"""torch.compile with inductor: C++ kernels on the CPU, Triton on CUDA.

Compiling happens in the first calls. The sweep sets TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR for the cell's process. In the
first round of a cell they are empty: what compiling costs is measured there, never borrowed from another cell. Later rounds may
begin with what the first has compiled, and their rows say so.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from greenray.errors import NotApplied, Unsupported, first_line
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn

_REASONS_KEPT = 5


class CompileParams(Params):
    """What is passed to torch.compile.

    Attributes:
        mode: inductor's preset; `reduce-overhead` and `max-autotune` use CUDA graphs on CUDA.
        fullgraph: a graph break is an error (`unsupported`) instead of a slower model.
        dynamic: None compiles for the shapes that come and generalises on the second one; batches here have one shape.
    """

    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default"
    fullgraph: bool = False
    dynamic: bool | None = None


class Compile(Tactic[CompileParams]):
    """The model compiled in place, so that its state and its attributes stay what they were."""

    name = "compile"
    summary = "Compiles the model with torch.compile and inductor; compiling is charged as one-off cost."
    needs = "a C++ compiler and Python's headers; on CUDA also Triton and compute capability 7.0 or later"
    source = "https://docs.pytorch.org/docs/stable/generated/torch.compile.html"
    Params = CompileParams

    def check(self, context: Context) -> None:
        import torch
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler
        from torch.utils._triton import has_triton_package

        context.require_last(self.name, why="compile compiles what stands before it in the chain")
        if context.device == "cpu" and self.params.mode == "reduce-overhead":
            raise Unsupported("reduce-overhead is CUDA graphs, which a cpu has not: use mode: default")
        if context.device == "cuda":
            if torch.cuda.get_device_capability() < (7, 0):
                raise Unsupported("compile on CUDA needs compute capability 7.0 or later; measure it with `devices: [cpu]`")
            if not has_triton_package():
                raise Unsupported("compile on CUDA needs the package triton, which CUDA builds of torch bring along")
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise Unsupported("compile needs a C++ compiler: install g++ or clang++, or name one in CXX") from error

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch
        from torch._dynamo.exc import Unsupported as NotTraceable
        from torch._dynamo.exc import UserError

        self._device, self._before = context.device, dynamo_counts()
        self._tuned_before = _autotuned()
        if context.device == "cpu" and self.params.mode != "default":
            # Then what was tuned is told by a warm cache too: by inductor's, and not by the one in front of it.
            torch._functorch.config.enable_autograd_cache = False
        model.compile(mode=self.params.mode, fullgraph=self.params.fullgraph, dynamic=self.params.dynamic)
        # The first call is made here because a refusal of the compiler is a fact about the tactic, not about the workload.
        try:
            with torch.inference_mode():
                model(**context.example)
        except (NotTraceable, UserError) as error:
            reason = first_line(error)
            raise Unsupported(f"the model cannot be compiled in one graph: {reason}; leave out fullgraph") from error
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        from torch._dynamo.utils import counters

        found: dict[str, Any] = {
            **{name: count - self._before[name] for name, count in dynamo_counts().items()},
            "autotuned": None if counters["aot_autograd"]["autograd_cache_hit"] else _autotuned() - self._tuned_before,
            "graph_break_reasons": [first_line(reason) for reason in list(counters["graph_break"])[:_REASONS_KEPT]],
            "cudagraph_skips": int(counters["inductor"]["cudagraph_skips"]),
            "cudagraphs": _cuda_graphs() if self._device == "cuda" else 0,
            "mode": self.params.mode,
        }
        if not found["graphs"]:
            raise NotApplied("torch.compile captured no graph; the model ran as eager code", evidence=found)
        if self._device == "cpu" and self.params.mode != "default" and found["autotuned"] == 0:
            raise NotApplied(f"{self.params.mode} found nothing to tune: the code is that of mode: default", evidence=found)
        if self.params.mode == "reduce-overhead" and not found["cudagraphs"]:
            raise NotApplied("no CUDA graph was recorded: the code is that of mode: default", evidence=found)
        return found

    def touched(self) -> frozenset[str] | None:
        """All of it where nothing broke the graph; else what ran between the graphs is not told by module."""
        return None if dynamo_counts()["graph_breaks"] > self._before["graph_breaks"] else WHOLE_MODEL

    def evaluating(self, model: "nn.Module") -> AbstractContextManager[object]:
        import torch

        # A second graph for evaluation mode would be compiled on behalf of a few passes that training has no use for.
        eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return eager

    def compilations(self) -> int:
        return dynamo_counts()["frames"]


def dynamo_counts() -> dict[str, int]:
    """Dynamo's counters, all of which only grow: graphs, operations in them, frames compiled, graph breaks, recompiles."""
    from torch._dynamo.utils import counters, get_compilation_metrics

    return {
        "graphs": int(counters["stats"]["unique_graphs"]),
        "operations": int(counters["stats"]["calls_captured"]),
        "frames": int(counters["frames"]["total"]),
        "graph_breaks": sum(int(count) for count in counters["graph_break"].values()),
        "recompiles": sum(1 for metrics in get_compilation_metrics() if getattr(metrics, "recompile_reason", None)),
    }


def _autotuned() -> int:
    """For how many products inductor has tried kernels against each other; what a cache gave is counted as when it was made."""
    from torch._dynamo.utils import counters

    return int(counters["inductor"]["select_algorithm_autotune"])


def _cuda_graphs() -> int:
    """How many CUDA graphs inductor has recorded; it does so in the second run of what it has compiled."""
    from torch._inductor import cudagraph_trees

    manager: Any = cudagraph_trees.get_manager(0, create_if_none_exists=False)  # a cell sees one board
    waiting = [] if manager is None else list(manager.get_roots())
    count = 0
    while waiting:
        node = waiting.pop()
        count += 1
        waiting += [child for children in node.children.values() for child in children]
    return count
