"""Which tasks there are. To add one: a folder (or a file) with its class, and a line here."""

from greenray.tactics.registry import resolve
from greenray.tasks.base import Task

TASKS: dict[str, str] = {
    "image-classification": "greenray.tasks.image_classification.task:ImageClassification",
}
DEFAULT = next(iter(TASKS))


def task_class(name: str) -> type[Task]:
    """The class behind a name; raises ConfigError if there is none."""
    found: type[Task] = resolve(TASKS, name, kind="task")
    return found


def preloads() -> tuple[str, ...]:
    """The modules that cells of any task import, each once."""
    return tuple(dict.fromkeys(module for name in TASKS for module in task_class(name).preload))
