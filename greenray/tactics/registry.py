"""Which tactics there are. To add one: a file with its class, and a line here."""

import pkgutil
from collections.abc import Mapping
from typing import Any

from greenray.errors import ConfigError
from greenray.tactics.base import Tactic

TACTICS: dict[str, str] = {
    "baseline": "greenray.tactics.baseline:Baseline",
    "bf16": "greenray.tactics.cast:BFloat16",
    "compile": "greenray.tactics.compile:Compile",
    "dynamic-quantization": "greenray.tactics.dynamic_quantization:DynamicQuantization",
    "int8-dynamic": "greenray.tactics.int8_dynamic:Int8Dynamic",
    "prune-global": "greenray.tactics.prune:PruneGlobal",
    "prune-local": "greenray.tactics.prune:PruneLocal",
}


def tactic_class(name: str) -> type[Tactic[Any]]:
    """The class behind a name; its module is imported now and not before.

    Raises:
        ConfigError: no such tactic; names those there are.
    """
    try:
        where = TACTICS[name]
    except KeyError:
        raise ConfigError(f"unknown tactic {name!r}; there are {', '.join(sorted(TACTICS))}") from None
    found: type[Tactic[Any]] = pkgutil.resolve_name(where)
    return found


def build(name: str, params: Mapping[str, Any] | None = None) -> Tactic[Any]:
    """A tactic with its parameters, defaults filled in.

    Raises:
        ConfigError: no such tactic.
        pydantic.ValidationError: a parameter that it does not have, or a bad value.
    """
    cls = tactic_class(name)
    return cls(cls.Params.model_validate(dict(params or {})))
