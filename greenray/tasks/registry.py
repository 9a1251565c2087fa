"""Which tasks there are. To add one: a folder (or a file) with its class, and a line here."""

import pkgutil

from greenray.errors import ConfigError
from greenray.tasks.base import Task

TASKS: dict[str, str] = {
    "image-classification": "greenray.tasks.image_classification.task:ImageClassification",
}
DEFAULT = next(iter(TASKS))


def task_class(name: str) -> type[Task]:
    """The class behind a name; its module is imported now and not before.

    Raises:
        ConfigError: no such task; names those there are.
    """
    try:
        where = TASKS[name]
    except KeyError:
        raise ConfigError(f"unknown task {name!r}; there are {', '.join(sorted(TASKS))}") from None
    found: type[Task] = pkgutil.resolve_name(where)
    return found


def preloads() -> tuple[str, ...]:
    """The modules that cells of any task import, each once."""
    return tuple(dict.fromkeys(module for name in TASKS for module in task_class(name).preload))
