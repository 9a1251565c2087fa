"""Which tactics there are. To add one: a file with its class, and a line here."""

import pkgutil
from collections.abc import Mapping
from typing import Any

from greenray.errors import ConfigError
from greenray.tactics.base import Tactic

TACTICS: dict[str, str] = {
    "baseline": "greenray.tactics.base:Baseline",
    "bf16": "greenray.tactics.cast:BFloat16",
    "compile": "greenray.tactics.compile:Compile",
    "dynamic-quantization": "greenray.tactics.int8:DynamicQuantization",
    "int8-dynamic": "greenray.tactics.int8:Int8Dynamic",
    "prune-global": "greenray.tactics.prune:PruneGlobal",
    "prune-local": "greenray.tactics.prune:PruneLocal",
}


def resolve(registry: Mapping[str, str], name: str, *, kind: str) -> Any:
    """What stands behind a name; its module is imported now and not before. Raises ConfigError with the names there are."""
    if name not in registry:
        raise ConfigError(f"unknown {kind} {name!r}; there are {', '.join(sorted(registry))}")
    return pkgutil.resolve_name(registry[name])


def tactic_class(name: str) -> type[Tactic[Any]]:
    """The class behind a name; raises ConfigError if there is none."""
    found: type[Tactic[Any]] = resolve(TACTICS, name, kind="tactic")
    return found


def build(name: str, params: Mapping[str, Any] | None = None) -> Tactic[Any]:
    """A tactic with its parameters, defaults filled in; raises ConfigError or pydantic.ValidationError."""
    cls = tactic_class(name)
    return cls(cls.Params.model_validate(dict(params or {})))
