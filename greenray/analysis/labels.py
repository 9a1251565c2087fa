"""What a reader calls a cell: the model, and only as much more as it takes to tell cells apart."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from greenray.analysis.arms import Arm

Key = tuple[str, str]


def label_cells(arms: Sequence[Arm]) -> dict[Key, str]:
    """Label of the model of each cell by (sweep, cell_id); cells that differ only in tactic, round or visit share one."""
    hardware: dict[str, set[str]] = defaultdict(set)
    for arm in arms:
        if arm.ok:
            hardware[arm.cell["device"]].add(arm.hardware)
    ambiguous = {device for device, names in hardware.items() if len(names) > 1}
    described = {(arm.cell["sweep"], arm.cell["cell_id"]): _description(arm, ambiguous) for arm in arms}
    by_phase: dict[str, dict[Key, dict[str, str]]] = defaultdict(dict)
    for arm in arms:
        key = (arm.cell["sweep"], arm.cell["cell_id"])
        by_phase[arm.cell["phase"]][key] = described[key]
    return {key: label for cells in by_phase.values() for key, label in _label(cells).items()}


def _label(cells: Mapping[Key, Mapping[str, str]]) -> dict[Key, str]:
    """Add the aspects in which cells differ: every aspect by itself, the checkpoint only for models that have several."""
    names = {key: aspects["model"] for key, aspects in cells.items()}
    shown = [name for name in _ASPECTS if len({aspects[name] for aspects in cells.values()} - {_UNKNOWN}) > 1]
    found = {}
    for key, aspects in cells.items():
        extras = [aspects[name] for name in shown if aspects[name] not in ("", _UNKNOWN)]
        if len({c["source"] for c in cells.values() if c["model"] == aspects["model"]}) > 1:
            extras.append(aspects["source"])
        found[key] = names[key] + (f" ({', '.join(extras)})" if extras else "")
    return found


_ASPECTS = ("revision", "dataset", "batch", "device", "hardware", "settings", "sweep")
_UNKNOWN = "?"
"""A cell that never started has no hardware; that alone tells it from no other."""


def _description(arm: Arm, ambiguous: set[str]) -> dict[str, str]:
    cell = arm.cell
    return {
        "model": cell["model"] or "unnamed model",
        "revision": f"revision {cell['model_revision'][:12]}" if cell["model_revision"] else "",
        "dataset": f"on {cell['dataset']}" if cell["dataset"] else "",
        "batch": f"batch {cell['batch_size']}" if cell["batch_size"] else "",
        "device": cell["device"] or _UNKNOWN,
        "hardware": arm.hardware if arm.ok and arm.cell["device"] in ambiguous else _UNKNOWN,
        "settings": (cell["hyperparameters"] or "") if cell["phase"] == "training" else "",
        "sweep": f"sweep {cell['sweep']}",
        "source": cell["model_source"] or "",
    }
