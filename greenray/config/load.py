"""From YAML, or from the words of a command line, to a validated config; what is wrong with it in one sentence."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from greenray.config.spec import SweepConfig
from greenray.errors import ConfigError


def load(path: Path) -> SweepConfig:
    """Read and validate a config file; raises ConfigError that names the place, the value and what would be right."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        example = "for example configs/quickstart.yaml"
        raise ConfigError(f"{path}: there is no such file; give the path of a config, {example}.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}.") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep; a config has a handful of levels.") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: a config is a mapping with name and experiments.")
    if given := [key for key in ("folder", "rehearsal") if key in data]:
        raise ConfigError(f"{path}: {given[0]}: unknown key.")
    return build({**data, "folder": str(path.resolve().parent)}, path=path, node=node)


class _Loader(yaml.SafeLoader):
    """Refuses with its line what PyYAML lets pass or stumbles over: a key given twice, a value that is not of its type."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")):
            if (first := seen.setdefault((key.tag, key.value), key)) is not key:
                problem = f"the key {key.value!r:.40} is given twice, first in line {first.start_mark.line + 1}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError) as error:
            problem = f"{node.value!r:.30} is no {node.tag.rpartition(':')[2]} ({str(error).partition(';')[0]})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def build(data: Mapping[str, Any], *, path: Path | None = None, node: yaml.Node | None = None) -> SweepConfig:
    """A config from Python data (the command line without a file); raises ConfigError like `load`."""
    try:
        return SweepConfig.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(_sentence(error, path=path, node=node)) from None


def _sentence(error: ValidationError, *, path: Path | None, node: yaml.Node | None) -> str:
    """The first problem as one sentence: file:line, place, value, what would be right."""
    problems = error.errors()
    first = problems[0]
    loc = [part for part in first["loc"] if not (isinstance(part, str) and re.search(r"[\[(]", part))]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".") or "config"
    where = f"{path}:{_line(node, loc)}: " if node else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] == "missing":
        message = "is required"
    elif not isinstance(first.get("input"), Mapping | Sequence) or isinstance(first.get("input"), str):
        shown = repr(first.get("input"))
        message = f"{shown} is not right: {message}" if shown not in message else message
    more = f" ({len(problems) - 1} more problem{'s' if len(problems) > 2 else ''})" if len(problems) > 1 else ""
    return f"{where}{place}: {message}{more}."


def _line(node: yaml.Node, loc: Sequence[int | str]) -> int:
    """The line of the deepest node on the way to `loc`, from 1."""
    mark = node.start_mark
    for part in loc:
        inner: dict[int | str, tuple[yaml.Node, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            inner = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            inner = {index: (item, item) for index, item in enumerate(node.value)}
        if part not in inner:
            break
        named, node = inner[part]
        mark = named.start_mark
    return int(mark.line) + 1
