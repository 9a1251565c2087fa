"""Figures that are true and mislead: sizes without the packed weights, and zeros that dense kernels multiply all the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenray.analysis import applied, stats
from greenray.analysis.arms import Arm, json_of
from greenray.analysis.effects import ModelEffect
from greenray.analysis.findings import Finding
from greenray.analysis.wording import count, in_settings, percent_change, signed

_BITS = {
    "int4-weight-only": 4,
    "dynamic-quantization": 8,
    "int8-dynamic": 8,
    "int8-weight-only": 8,
    "fp8-dynamic": 8,
    "bf16": 16,
    "fp16": 16,
}
"""Bits of a weight after a tactic."""
_LOADED_BITS = 32
_SAID_FROM = 0.02
"""Naive savings that exceed those of the file by this share of the baseline's file are said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Bytes of a model under a tactic and as it was loaded: of its serialised state, and of what its `parameters()` list.

    `hardly`: the tactic was hardly applied.
    """

    label: str
    tactic: str
    baseline_bytes: float
    tactic_bytes: float
    naive_baseline_bytes: float | None
    naive_tactic_bytes: float | None
    hardly: bool

    @property
    def change(self) -> float:
        """Of the serialised state, as a share of the baseline's (-0.75: three quarters less)."""
        return self.tactic_bytes / self.baseline_bytes - 1

    @property
    def naive_change(self) -> float | None:
        """Of the parameters' bytes, likewise; None where they are unknown."""
        if not self.naive_baseline_bytes or self.naive_tactic_bytes is None:
            return None
        return self.naive_tactic_bytes / self.naive_baseline_bytes - 1

    @property
    def most(self) -> float | None:
        """The most that weights of fewer bits can save of float32, as a share; None where the tactic changes no bits."""
        bits = [_BITS[step] for step in _steps(self.tactic) if step in _BITS]
        return 1 - min(bits) / _LOADED_BITS if bits else None

    @property
    def misleads(self) -> bool:
        """Whether the naive figure claims clearly more bytes than the file saves.

        As bytes: what a file holds beside its parameters makes its share smaller, and hides nothing.
        """
        if self.naive_baseline_bytes is None or self.naive_tactic_bytes is None:
            return False
        claimed, saved = self.naive_baseline_bytes - self.naive_tactic_bytes, self.baseline_bytes - self.tactic_bytes
        return claimed - saved > _SAID_FROM * self.baseline_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeros:
    """What became of pruned weights: `zeros` is the share (0-1) of the model's weights that are zero, None for removed ones."""

    label: str
    effect: ModelEffect
    zeros: float | None
    kernel: str


def sizes(arms: Iterable[Arm]) -> list[Size]:
    """A row for each model and tactic of inference that changes a size by 0.1 % or more; devices and batch sizes share one."""
    models: dict[tuple[Any, ...], dict[str, list[Arm]]] = defaultdict(lambda: defaultdict(list))
    for arm in (one for one in arms if one.ok and one.cell["size_bytes"] and one.cell["phase"] == "inference"):
        cell = arm.cell
        same = tuple(cell[name] for name in ("sweep", "model", "model_source", "model_revision", "dataset"))
        models[same][cell["tactic"]].append(arm)
    found = []
    for tactics in models.values():
        baseline = tactics.pop("baseline", [])
        whole, naive = (_mean(baseline, name) for name in ("size_bytes", "parameters_bytes"))
        for tactic, of in tactics.items():
            size = _mean(of, "size_bytes")
            if whole is None or size is None:
                continue
            row = Size(
                label=str(of[0].cell["model"]),
                tactic=tactic,
                baseline_bytes=whole,
                tactic_bytes=size,
                naive_baseline_bytes=naive,
                naive_tactic_bytes=_mean(of, "parameters_bytes"),
                hardly=applied.is_hardly_in(arm.cell for arm in of),
            )
            if max(abs(row.change), abs(row.naive_change or 0.0)) >= 0.001:
                found.append(row)
    return found


def size_sentences(sizes: Iterable[Size]) -> list[str]:
    """Once for each tactic whose naive figure claims more than its file saves."""
    groups: dict[str, list[Size]] = defaultdict(list)
    for size in (one for one in sizes if one.misleads):
        groups[size.tactic].append(size)
    said = []
    for tactic, of in groups.items():
        naive, file = ([100 * (getattr(one, name) or 0.0) for one in of] for name in ("naive_change", "change"))
        most = of[0].most
        bound = ""
        if most is not None:
            bound = f", and {_LOADED_BITS * (1 - most):.0f} bits for {_LOADED_BITS} can save {100 * most:.0f} % at most"
        few = f" ({applied.MARK} to {count(hardly, 'model')})" if (hardly := sum(one.hardly for one in of)) else ""
        where = of[0].label if len(of) == 1 else count(len(of), "model")
        said.append(
            f"{tactic} on {where}{few}: what parameters() lists changes by {_signed(naive)}, the serialised model by "
            f"{_signed(file)}{bound}; weights that are packed, or held outside of torch, are no parameters, so the first figure "
            "leaves them out."
        )
    return said


def zeros(findings: Iterable[Finding]) -> list[Zeros]:
    """A row for each model and tactic that pruned."""
    found = []
    for finding in findings:
        for visit in finding.effect.used[:1]:
            evidence = json_of(visit.arm.cell, "evidence")
            told = next(((step, evidence[step]) for step in _steps(finding.tactic) if step in evidence and _pruned(step)), None)
            if told is not None:
                share, kernel = _told(*told, visit.arm)
                found.append(Zeros(label=finding.label, effect=finding.effect, zeros=share, kernel=kernel))
    return found


def zero_sentences(rows: Iterable[Zeros]) -> list[str]:
    """Zeros, kernel and time, once for each tactic whose zeros stay in dense kernels; and how many models it made faster."""
    groups: dict[str, list[Zeros]] = defaultdict(list)
    for row in (one for one in rows if one.zeros is not None and one.kernel.startswith("dense")):
        groups[row.effect.tactic].append(row)
    said = []
    for tactic, of in groups.items():
        share = _range([100 * (row.zeros or 0.0) for row in of])
        models = len({row.effect.subject[3:6] for row in of})
        where = of[0].label if len(of) == 1 else in_settings(len(of), models=models)
        said.append(f"{tactic} on {where}: {share} % of the weights are zero and the kernels are dense: {_times(of)}.")
    return said


def _times(rows: Sequence[Zeros]) -> str:
    times = [row.effect.time for row in rows]
    if len(times) == 1:
        if times[0] is None:
            return "its time is unknown"
        how = {None: "no interval, so nothing is claimed of time", False: "no clear difference in time"}.get(
            times[0].clear, "time is less all the same" if times[0].ratio < 1 else "time is more"
        )
        return f"{how} ({percent_change(times[0])})"
    ways = {
        "no clear difference in time": sum(time is not None and time.clear is False for time in times),
        "less time": sum(time is not None and bool(time.clear) and time.ratio < 1 for time in times),
        "more time": sum(time is not None and bool(time.clear) and time.ratio > 1 for time in times),
    }
    ways["no interval, so nothing claimed of time"] = len(times) - sum(ways.values())
    return ", ".join(f"{way} on {number}" for way, number in ways.items() if number)


def _pruned(step: str) -> bool:
    return step.startswith("prune-") or step == "sparse-2-4"


def _told(step: str, evidence: Mapping[str, Any], arm: Arm) -> tuple[float | None, str]:
    """The share of zeros, and what kernels do with them."""
    if step == "sparse-2-4":
        packed, whole = evidence.get("weights_converted"), arm.cell["parameters"]
        return (packed / 2 / whole if packed and whole else None), f"sparse ({evidence.get('backend', 'unknown')})"
    if "sparsity_model" not in evidence:
        return None, "dense, and smaller: channels are removed"
    return evidence["sparsity_model"], "dense" if evidence.get("permanent", True) else "dense, with a mask multiplied in"


def _steps(tactic: str) -> list[str]:
    """Names of a chain's tactics, their parameters left out."""
    return [step.split("_")[0] for step in tactic.split("+")]


def _mean(arms: Iterable[Arm], column: str) -> float | None:
    return stats.mean_known(arm.cell[column] for arm in arms)


def _range(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys((f"{min(values):.0f}", f"{max(values):.0f}")))


def _signed(changes: Sequence[float]) -> str:
    """The smallest to the largest of changes in %, by what they save."""
    return " to ".join(dict.fromkeys((signed(max(changes)), signed(min(changes))))) + " %"
