"""What a reader calls a cell: the model, and only as much more as it takes to tell cells apart."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from greenray.analysis.arms import Arm

Key = tuple[str, str]


def label_cells(arms: Sequence[Arm]) -> dict[Key, str]:
    """Label of the model of each cell by (sweep, cell_id); cells that differ only in tactic, round or visit share one."""
    hardware: dict[str, set[str]] = defaultdict(set)
    by_phase: dict[str, dict[Key, dict[str, str]]] = defaultdict(dict)
    for arm in arms:
        if arm.ok:
            hardware[arm.cell["device"]].add(arm.hardware)
    for arm in arms:
        by_phase[arm.cell["phase"]][arm.key] = _description(arm, ambiguous=len(hardware[arm.cell["device"]]) > 1)
    return {key: label for cells in by_phase.values() for key, label in _label(cells).items()}


def _label(cells: Mapping[Key, Mapping[str, str]]) -> dict[Key, str]:
    """Add the aspects in which cells differ: every aspect by itself, the checkpoint only for models that have several."""
    shown = [name for name in _ASPECTS if len({aspects[name] for aspects in cells.values()} - {_UNKNOWN}) > 1]
    sources: dict[str, set[str]] = defaultdict(set)
    for aspects in cells.values():
        sources[aspects["model"]].add(aspects["source"])
    found = {}
    for key, aspects in cells.items():
        extras = [aspects[name] for name in shown if aspects[name] not in ("", _UNKNOWN)]
        extras += [aspects["source"]] if len(sources[aspects["model"]]) > 1 else []
        found[key] = aspects["model"] + (f" ({', '.join(extras)})" if extras else "")
    return found


_ASPECTS = ("revision", "dataset", "batch", "device", "hardware", "settings", "sweep")
_UNKNOWN = "?"
"""A cell that never started has no hardware; that alone tells it from no other."""


def _description(arm: Arm, *, ambiguous: bool) -> dict[str, str]:
    cell = arm.cell
    return {
        "model": cell["model"] or "unnamed model",
        "revision": f"revision {cell['model_revision'][:12]}" if cell["model_revision"] else "",
        "dataset": f"on {cell['dataset']}" if cell["dataset"] else "",
        "batch": f"batch {cell['batch_size']}" if cell["batch_size"] else "",
        "device": cell["device"] or _UNKNOWN,
        "hardware": arm.hardware if arm.ok and ambiguous else _UNKNOWN,
        "settings": (cell["hyperparameters"] or "") if cell["phase"] == "training" else "",
        "sweep": f"sweep {cell['sweep']}",
        "source": cell["model_source"] or "",
    }
