"""What a tactic is: a name, its parameters, and three calls around a loaded model.

The life of a tactic inside a cell:

    tactic = tactic_class("prune-global")(PruneGlobal.Params(amount=0.5))
    tactic.check(context)                 # Unsupported, before anything is read or loaded
    model = tactic.apply(model, context)  # the model that is measured
    model(**context.example)              # first calls, made by the cell
    tactic.evidence(model)                # what shows that it really was applied
    tactic.touched()                      # how much of the model that was

and in a training cell, with `context.training`, instead of the first calls:

    tactic.prepare_training(step)         # it may wrap forward, backward and update
    ...                                   # steps; now and then, between epochs, with tactic.evaluating(model):
    tactic.is_enough(progress)            # if it has held samples out: after each epoch
    tactic.end_training(model)            # what is evaluated and saved

Importing a tactic's file must not import torch: `plan` and the config read `Params` only.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from greenray.errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn

    from greenray.config.refs import Precision
    from greenray.tasks.training_step import TrainingStep

DEVICES = ("cpu", "cuda")
KEEP_THE_MODEL = ("baseline", "batch-size", "early-stopping", "null-check", "power-limit")
"""Tactics that leave the model as it is, so that they may follow in a chain where nothing else can be changed any more."""
WHOLE_MODEL = frozenset({""})
"""What a tactic answers to `touched` if it changes or runs otherwise all of the model: the name of the root module."""
OWN_KERNELS = ("onnxruntime", "tensorrt")
"""Tactics that compute with code of their own, for which it makes no difference how torch would do it."""

_ENDS = ("compile", *OWN_KERNELS)
_PRUNE = ("prune-global", "prune-local", "prune-structured")
_PACK = ("dynamic-quantization", "fp8-dynamic", "int4-weight-only", "int8-dynamic", "int8-weight-only", "sparse-2-4")


class Params(BaseModel):
    """Base of every tactic's parameters: frozen, no unknown keys, every field with a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


P = TypeVar("P", bound=Params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a tactic is applied.

    Attributes:
        example: one full batch on `device`, by keyword; empty in `check`, which comes before anything is loaded.
        training: the model is going to be trained.
        later: names of the tactics that follow in the chain.
        batch_size: samples in a batch of the baseline; None where nobody asks.
        precision: that the baseline is trained in; fp32 where it is only run.
    """

    device: str
    example: "Mapping[str, Tensor]" = field(default_factory=dict)
    training: bool = False
    later: tuple[str, ...] = ()
    batch_size: int | None = None
    precision: "Precision" = "fp32"

    def require_last(self, name: str, *, why: str) -> None:
        """Raise Unsupported if a tactic that changes the model follows on `name` in the chain."""
        if after := next((other for other in self.later if other not in KEEP_THE_MODEL), None):
            raise Unsupported(f"{why}: " + ("leave out one of the two" if after in _ENDS else f"put {after} before {name}"))

    def require_torchs_kernels(self, name: str, *, what: str) -> None:
        """Raise Unsupported if a tactic follows that chooses `what` itself, whatever torch was told."""
        if after := next((other for other in self.later if other in OWN_KERNELS), None):
            raise Unsupported(f"{after} chooses {what} itself: leave out {name} before it")

    def require_nothing_for_plain_weights(self, name: str) -> None:
        """Raise Unsupported if a tactic follows that needs weights as they were before `name` packs them."""
        if other := next((other for other in self.later if other in (*_PRUNE, *_PACK, *OWN_KERNELS)), None):
            instead = f"put {other} before {name}" if other in _PRUNE else "use one of the two"
            raise Unsupported(f"{name} packs weights, and {other} needs them plain: {instead}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far training has come, for a tactic that may end it.

    Attributes:
        epoch, epochs: the last that was trained, of how many.
        accuracy: share of the samples held out that the model answers right.
        energy_j: J of all epochs so far; None where that is unknown, and then `unknown` says why.
    """

    epoch: int
    epochs: int
    accuracy: float
    energy_j: float | None
    unknown: str | None = None


class Tactic(ABC, Generic[P]):
    """An optimisation applied to a loaded model.

    Attributes:
        devices: devices on which `check` can pass.
        needs: what else has to be there, for `greenray tactics`; empty if nothing.
        allocates_itself: it has memory on the board that torch knows nothing of, so that torch's peak is not the cell's.
        changes_hardware: a setting of the board is changed, which a config has to allow.
        source: the paper or documentation that it comes from, an address; empty if it is our own.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = DEVICES
    needs: ClassVar[str] = ""
    source: ClassVar[str] = ""
    allocates_itself: ClassVar[bool] = False
    changes_hardware: ClassVar[bool] = False
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: P) -> None:
        self.params = params

    def check(self, context: Context) -> None:
        """Raise Unsupported, in a sentence that names what can be used instead, if the tactic cannot run here.

        NotApplied, if it is sure to change nothing. Called before the model and the data are loaded.
        """

    def batch_size(self, asked: int) -> int:
        """Samples in a batch, where `asked` are in the block's; the task is made with what the chain answers."""
        return asked

    def board_power_limit_w(self, *, default_w: float) -> float | None:
        """The limit that the worker sets for the board while the cell runs, where `default_w` is the default; None: as it is."""
        return None

    @abstractmethod
    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        """The optimised model, which may be the same object changed in place.

        Raises NotApplied if nothing was there to convert, Unsupported if this model cannot be treated.
        """

    def prepare_training(self, step: "TrainingStep") -> None:
        """Wrap what the tactic changes of a training step; the model is that of `apply`."""

    def held_out_share(self) -> float:
        """Share of the samples to learn from (0-1) that training must validate on after every epoch instead; in its window."""
        return 0.0

    def is_enough(self, progress: Progress) -> bool:
        """Whether training ends here, before its last epoch; asked only where samples are held out."""
        return False

    def evaluating(self, model: "nn.Module") -> AbstractContextManager[object]:
        """Around answers that a model in the midst of training gives: as `end_training` would leave it, and nothing compiled."""
        return nullcontext()

    def end_training(self, model: "nn.Module") -> None:
        """Leave the model behind as it is to be evaluated and saved, in place."""

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        """What shows that the tactic was applied; asked after the first calls, or after training. JSON values only.

        Raises NotApplied if the first calls showed that nothing changed.
        """
        return {}

    def touched(self) -> frozenset[str] | None:
        """Names of the modules, as the model was loaded, that were changed or are run otherwise, each with all inside it.

        Asked after `evidence`. Empty if it leaves the model as it is, `WHOLE_MODEL` if nothing of it, None if it cannot be told.
        """
        return None

    def compilations(self) -> int:
        """How often code was compiled so far. A window in which this number moves is rejected."""
        return 0


class Baseline(Tactic[Params]):
    """No optimisation: what everything else is compared with."""

    name = "baseline"
    summary = "The model as it was loaded: fp32, eager, sdpa attention."

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        return model

    def touched(self) -> frozenset[str]:
        return frozenset()
