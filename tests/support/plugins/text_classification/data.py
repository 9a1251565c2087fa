"""Passages of the standard library's own sources, each labelled with the package that it comes from."""

import importlib.util
from pathlib import Path

from greenray.config.refs import DatasetRef
from greenray.tasks.labelled import Labelled, Purpose, draw, holdout

NAME = "standard-library"
PACKAGES = ("asyncio", "email", "unittest", "xml")
LINES = 8
MOST = 300


def passages(package: str) -> list[str]:
    """Eight lines each, in the order of the files; at most 300, evenly spread."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    found = []
    for file in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        found += ["\n".join(lines[start : start + LINES]) for start in range(0, len(lines) - LINES, LINES)]
    return found[:: -(-len(found) // MOST)]


def load(ref: DatasetRef, *, purpose: Purpose) -> Labelled:
    import numpy as np

    texts = [(text, label) for label, package in enumerate(PACKAGES) for text in passages(package)]
    labels = np.array([label for _, label in texts])
    split: Purpose = "train" if (ref.split or purpose) == "train" else "test"
    rows = draw(holdout(labels)[split], samples=ref.samples)
    return Labelled(
        items=[texts[row][0] for row in rows],
        labels=tuple(int(labels[row]) for row in rows),
        label_names=PACKAGES,
        split=split,
    )
