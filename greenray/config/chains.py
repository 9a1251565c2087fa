"""Chains of tactics as a config names them, and those that are compared where it says `default`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from greenray.config.settings import Frozen
from greenray.tactics.registry import TACTICS, tactic_class

_PAPERS = ("baseline", "dynamic-quantization", "compile", "prune-local", "prune-global")  # Gonzalez et al., 2024
BY_DEVICE: Mapping[str, tuple[str, ...]] = {
    "cpu": _PAPERS,
    "cuda": (*_PAPERS, "tf32", "bf16", "bf16+compile", "bf16+int8-dynamic+compile"),
}
"""What `default` stands for: the tactics of the papers, and on GPUs those that their users choose between first."""


class TacticStep(Frozen):
    """One tactic with every parameter filled in."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


BASELINE = (TacticStep(name="baseline"),)
NULL_CHECK = (TacticStep(name="null-check"),)
DEFAULT = (TacticStep(name="default"),)
"""Stands for as many chains as `BY_DEVICE` has, once the device is known."""


def _parse_step(value: Any) -> TacticStep:
    if isinstance(value, TacticStep):
        return value
    if isinstance(value, str):
        name, given = value, {}
    elif isinstance(value, Mapping) and set(value) == {"name", "params"}:
        name, given = value["name"], value["params"]
    elif isinstance(value, Mapping) and len(value) == 1:
        name, given = next(iter(value.items()))
    else:
        raise ValueError(f"{value!r} is no tactic; write a name, {{name: {{parameter: value}}}} or a list of those for a chain")
    if name == DEFAULT[0].name and not given:
        return DEFAULT[0]
    if name not in TACTICS:
        raise ValueError(f"unknown tactic {name!r}; known are {', '.join(TACTICS)}")
    if not isinstance(given, Mapping | None):
        raise ValueError(f"the parameters of {name} are {given!r}; write {{{name}: {{parameter: value}}}}")
    params_model = tactic_class(name).Params
    try:
        params = params_model.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(params_model.model_fields) or "none"
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"tactic {name}, parameter {place}: {first['msg']} (its parameters: {known})") from None
    return TacticStep(name=name, params=params.model_dump(mode="json"))


def _parse_chain(value: Any) -> tuple[TacticStep, ...]:
    steps = [_parse_step(item) for item in (value if isinstance(value, list | tuple) else [value])]
    if len(steps) > 1 and DEFAULT[0] in steps:
        raise ValueError("default stands for several tactics, so it cannot be part of a chain; write it beside the others")
    names = [step.name for step in steps]
    if twice := next((name for name in names if names.count(name) > 1 and name != BASELINE[0].name), None):
        raise ValueError(f"{twice} is in a chain twice; name it once, with the parameters that it is to have")
    # `baseline` changes nothing, so it adds nothing to a chain.
    return tuple(s for s in steps if s.name != "baseline") or BASELINE


Chain = Annotated[tuple[TacticStep, ...], BeforeValidator(_parse_chain)]


def chains_on(device: str, chains: tuple[tuple[TacticStep, ...], ...]) -> list[tuple[TacticStep, ...]]:
    """The chains that a list of a config stands for on a device, each once."""
    found: dict[str, tuple[TacticStep, ...]] = {}
    for chain in chains:
        expanded = (_parse_chain(name.split("+")) for name in BY_DEVICE[device]) if chain == DEFAULT else [chain]
        found |= {repr(one): one for one in expanded}
    return list(found.values())
