"""How much of a model a tactic touched: shares of its parameters and of its multiply-accumulates.

A tactic says which modules it changed or runs otherwise (`Tactic.touched`); what they hold is read off the model as it was
loaded, on the meta device. A layer counts whole: how many weights of a pruned one are zero is told by the tactic's evidence.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from greenray.cell.protocol import Done
    from greenray.tasks.base import Task


def tell(result: "Done", task: "Task", names: frozenset[str] | None) -> None:
    """Fill in the two shares; where one is unknown, `settings` says why.

    `names` are those of `Chain.touched`. A chain that touches no module (another batch size) has no shares either.
    """
    if names is None:
        result.settings["touched_unknown"] = "a tactic does not tell which modules it touched"
    elif "" in names:
        result.touched_parameters_share = result.touched_macs_share = 1.0
    elif names:
        try:
            skeleton, inputs = task.skeleton()
            result.touched_parameters_share = parameters_share(skeleton, names)
            result.touched_macs_share = macs_share(skeleton, inputs, names)
        except Exception as error:  # any model's own code runs here, and not all of it runs on the meta device
            result.settings["touched_unknown"] = f"{type(error).__name__}: {error}"[:200]


def parameters_share(model: "nn.Module", names: frozenset[str]) -> float | None:
    """Share of the model's parameters that these modules hold, with all inside; shared ones count once, None if it has none.

    Raises KeyError where the model has no module of a name.
    """
    held = {id(parameter): parameter.numel() for parameter in model.parameters()}
    modules = _outermost(model, names)
    touched = {id(parameter) for module in modules.values() for parameter in module.parameters()}
    total = sum(held.values())
    return sum(held[key] for key in touched) / total if total else None


def macs_share(model: "nn.Module", inputs: "Mapping[str, torch.Tensor]", names: frozenset[str]) -> float | None:
    """Share of the multiply-accumulates of one pass that are made inside these modules; None if the pass makes none.

    Products of attention belong to the module that computes them, not to its projections. Raises KeyError as above.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    modules = _outermost(model, names)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        model(**inputs)
    total = counter.get_total_flops()
    counts: Mapping[str, Mapping[Any, int]] = counter.get_flop_counts()
    # The counter knows a module by one of the paths that lead to it, which begin with the model's class.
    inside: dict[int, int] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        made = counts.get(".".join(filter(None, (type(model).__name__, name))), {})
        inside[id(module)] = max(inside.get(id(module), 0), sum(made.values()))
    return sum(inside[id(module)] for module in modules.values()) / total if total else None


def _outermost(model: "nn.Module", names: frozenset[str]) -> "dict[str, nn.Module]":
    """The modules of these names that lie in none of the others; one with two names counts once."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if missing := sorted(names - modules.keys()):
        raise KeyError(f"the model as it was loaded has no module {missing[0]}")
    outer = {name for name in names if not any(name.startswith(f"{other}.") for other in names)}
    return {name: module for module, name in {modules[name]: name for name in sorted(outer)}.items()}
