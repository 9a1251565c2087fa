"""All that is known about one tactic on one model, put together, and what a reader calls the model."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenray.analysis import applied, cost, sentences, stats
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.arms import Arm, json_of
from greenray.analysis.cost import BreakEven, break_even
from greenray.analysis.effects import ModelEffect
from greenray.analysis.prices import Prices
from greenray.analysis.wording import setting

Key = tuple[str, str, str]
SAMPLES = 1000
"""Cost and carbon are given for so many samples."""
_ASPECTS = ("revision", "dataset", "batch", "device", "hardware", "sweep", "stage")
_SETTING = "setting "
_UNKNOWN = "?"
"""A cell that never started has no hardware; that alone tells it from no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One tactic on one model.

    Attributes:
        label: the model as a reader tells it from the others (batch size, device, ... only where they differ).
        energy_break_even, time_break_even: when the one-off cost is earned back, in joules and in seconds.
        optimize_energy_j, optimize_time_s: one-off cost, mean over the attempts that began with empty caches on a quiet host;
            None without one.
        baseline_cost, tactic_cost: for `SAMPLES` samples.
        sentence: the finding in plain words.
        grade: worst grade of the arms compared.
    """

    label: str
    effect: ModelEffect
    accuracy: AccuracyChange | None
    energy_break_even: BreakEven
    time_break_even: BreakEven
    optimize_energy_j: float | None
    optimize_time_s: float | None
    baseline_cost: cost.Cost
    tactic_cost: cost.Cost
    sentence: str
    grade: str | None

    @property
    def tactic(self) -> str:
        return self.effect.tactic

    @property
    def named(self) -> str:
        """The tactic as tables name it: marked where it was hardly applied."""
        return applied.named(self.effect)


def finding(label: str, effect: ModelEffect, accuracy: AccuracyChange | None, prices: Prices) -> Finding:
    cold = [visit.arm.cell for visit in effect.visits if not visit.arm.cell["warm"] and not visit.contended]
    optimize_j, optimize_s = (stats.mean_known(cell[name] for cell in cold) for name in ("optimize_energy_j", "optimize_s"))
    gpu_name = effect.subject.hardware if effect.subject.device == "cuda" else None
    energies, times = (effect.baseline_energy_j, effect.tactic_energy_j), (effect.baseline_time_s, effect.tactic_time_s)
    baseline_cost, tactic_cost = (
        cost.of_samples(samples=SAMPLES, energy_j=energy_j, time_s=time_s, gpu_name=gpu_name, prices=prices)
        for energy_j, time_s in zip(energies, times, strict=True)
    )
    energy_break_even = break_even(one_off=optimize_j, baseline=energies[0], tactic=energies[1])
    return Finding(
        label=label,
        effect=effect,
        accuracy=accuracy,
        energy_break_even=energy_break_even,
        time_break_even=break_even(one_off=optimize_s, baseline=times[0], tactic=times[1]),
        optimize_energy_j=optimize_j,
        optimize_time_s=optimize_s,
        baseline_cost=baseline_cost,
        tactic_cost=tactic_cost,
        sentence=sentences.model_sentence(label, effect, accuracy, energy_break_even),
        grade=max((arm.grade for arm in effect.arms if arm.grade), default=None),
    )


def label_cells(arms: Sequence[Arm]) -> dict[Key, str]:
    """Label of the model of each arm, and of its stages, by key; cells that differ only in tactic, round or visit share one."""
    hardware = {(arm.cell["device"], arm.hardware) for arm in arms if arm.ok}
    devices = [device for device, _ in hardware]
    by_phase: dict[str, dict[Key, dict[str, str]]] = defaultdict(dict)
    for arm in (one for cell in arms for one in (cell, *cell.stages)):
        by_phase[arm.cell["phase"]][arm.key] = _description(arm, ambiguous=devices.count(arm.cell["device"]) > 1)
    tactics_in = {arm.cell["phase"] for arm in arms if arm.cell["tactic"] != "baseline"}
    found: dict[Key, str] = {}
    for phase, cells in by_phase.items():
        found |= _label(cells, extra="training" if phase == "training" and len(tactics_in) > 1 else None)
    return found


def _label(cells: Mapping[Key, Mapping[str, str]], *, extra: str | None) -> dict[Key, str]:
    """Add `extra`, and the aspects in which cells differ: each by itself, the checkpoint only for models that have several."""
    settings = dict.fromkeys(name for aspects in cells.values() for name in aspects if name.startswith(_SETTING))
    names = (*_ASPECTS[:-2], *settings, *_ASPECTS[-2:])
    shown = [name for name in names if len({aspects.get(name, "") for aspects in cells.values()} - {_UNKNOWN}) > 1]
    sources: dict[str, set[str]] = defaultdict(set)
    for aspects in cells.values():
        sources[aspects["model"]].add(aspects["source"])
    found = {}
    for key, aspects in cells.items():
        extras = [extra] if extra else []
        extras += [aspects[name] for name in shown if aspects.get(name, "") not in ("", _UNKNOWN)]
        extras += [aspects["source"]] if len(sources[aspects["model"]]) > 1 else []
        found[key] = aspects["model"] + (f" ({', '.join(extras)})" if extras else "")
    return found


def _description(arm: Arm, *, ambiguous: bool) -> dict[str, str]:
    cell = arm.cell
    given = json_of(cell, "hyperparameters") if cell["phase"] == "training" else {}
    return {
        "model": cell["model"] or "unnamed model",
        "revision": f"revision {cell['model_revision'][:12]}" if cell["model_revision"] else "",
        "dataset": f"on {cell['dataset']}" if cell["dataset"] else "",
        "batch": f"batch {cell['batch_size']}" if cell["batch_size"] else "",
        "device": cell["device"] or _UNKNOWN,
        "hardware": arm.hardware if arm.ok and ambiguous else _UNKNOWN,
        "sweep": f"sweep {cell['sweep']}",
        "stage": f"stage {arm.stage}" if arm.stage else "",
        "source": cell["model_source"] or "",
        **{f"{_SETTING}{name}": setting(name, value) for name, value in given.items()},
    }
