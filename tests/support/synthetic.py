"""A store with known effects, written through the store's own writer: what the analysis must find again is given."""

import hashlib
import json
import math
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenray.store import tables
from greenray.store.registry import open_store

MODELS = {"vit-tiny": ("vit", 0.004), "resnet-tiny": ("resnet", 0.002), "convnext-tiny": ("convnext", 0.006)}
"""Model -> (family, joules per sample of the baseline)."""
TACTICS = {"dynamic-quantization": 0.69, "compile": 0.8, "prune-local": 1.0}
"""Tactic -> true energy ratio; time follows it."""
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def manifest(name: str, **more: Any) -> dict[str, Any]:
    """The least that makes a manifest one, and more."""
    config = {"name": name, "seed": 0, "limits": {"max_attempts": 2}}
    return {"schema_version": 1, "auto_device": "cpu", "config": config, "cells": [], **more}


@dataclass(kw_only=True)
class Sweep:
    """A sweep to be written, cell by cell.

    Attributes:
        noise: relative spread of a window's energy; `visit_noise` of a whole visit's ratio.
        drift: log ratio of a closing to its opening baseline.
        contention: what the windows of a cell say of the neighbours; None is quiet.
    """

    out: Path
    name: str = "quick"
    device: str = "cpu"
    scope: str = "cpu"
    modelled: float = 0.0
    noise: float = 0.004
    visit_noise: float = 0.0
    drift: float = 0.0
    windows: int = 4
    samples: int = 360
    seed: int = 0
    contention: str | None = None
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def rounds(self, count: int, model: str, **visit: Any) -> None:
        """So many rounds of a block, each a visit of its own."""
        for round_ in range(1, count + 1):
            block = {"block_id": f"{visit['block_id']}-{round_}"} if "block_id" in visit else {}
            self.visit(model, round_=round_, **visit | block)

    def visit(
        self,
        model: str,
        *,
        family: str,
        energy_j: float,
        tactics: Mapping[str, float],
        visit: int = 1,
        round_: int = 1,
        closing: bool = True,
        accuracy_lost: int = 1,
        **cell: Any,
    ) -> None:
        """One visit: opening baseline, tactics with their true ratios, closing baseline."""
        shared = {
            "model": model,
            "model_family": family,
            "visit": visit,
            "round": round_,
            "block_id": f"b1-{model}-{round_}",
        } | cell
        drifted = energy_j * math.exp(self.drift)
        self.cell("baseline", energy_j=energy_j, bracket="open", order_in_visit=0, **shared)
        for order, (tactic, ratio) in enumerate(tactics.items(), start=1):
            level = (energy_j + drifted) / 2 * ratio * math.exp(self.rng.gauss(0, self.visit_noise))
            self.cell(
                tactic,
                energy_j=level,
                wrong=18 + accuracy_lost,
                order_in_visit=order,
                optimize_energy_j=12.0,
                optimize_s=0.4,
                **shared,
            )
        if closing:
            self.cell("baseline", energy_j=drifted, bracket="close", order_in_visit=len(tactics) + 1, **shared)

    def cell(
        self,
        tactic: str,
        *,
        energy_j: float | None,
        status: str = "ok",
        attempt: int = 1,
        wrong: int = 18,
        quality: float | None = None,
        windows: Sequence[Mapping[str, Any]] | None = None,
        trace: bool = False,
        attempt_energy_j: float | None = 80.0,
        idle_w: float | None = None,
        idle_settled: bool = True,
        board_w: float | None = None,
        time_s: float | None = None,
        **columns: Any,
    ) -> dict[str, Any]:
        """One attempt with its windows, predictions and, if asked for, a trace; returns the row of `cells`.

        `quality` is the task's own value, where it is not what the predictions say; `idle_w` is the power of its board when
        idle, which its windows then know, and `board_w` what it draws in them; `time_s` is time per sample where that does not
        follow its energy.
        """
        row = self._row(tactic, status=status, attempt=attempt, **columns) | {"energy_j": attempt_energy_j}
        ok = status == "ok"
        if ok and row["phase"] == "inference":
            right = self.samples - wrong
            row |= {"accuracy": right / self.samples if quality is None else quality}
            row.setdefault("samples_evaluated", self.samples)
        if windows is None:
            windows = [self._steady(index, energy_j, row, time_s) for index in range(self.windows)] if ok else []
        if idle_w is not None:
            idle = {"gpu_idle_w": idle_w, "gpu_idle_settled": idle_settled}
            windows = [dict(w) | idle | {"active_energy_j": w["total_energy_j"] - idle_w * w["duration_s"]} for w in windows]
        if board_w is not None:
            windows = [dict(w) | {"gpu_energy_j": board_w * w["duration_s"], "gpu_energy_source": "counter"} for w in windows]
        predictions = {
            "sample": list(range(self.samples)),
            "label": [index % 10 for index in range(self.samples)],
            "prediction": [(index + (index < wrong)) % 10 for index in range(self.samples)],
        }
        keep = ok and row["phase"] == "inference"
        tables.commit(
            open_store(self.out),
            sweep=self.name,
            tactic=tactic,
            cell=row,
            windows=windows,
            trace=self._trace() if trace else [],
            predictions=predictions if keep else [],
        )
        return row

    def train(
        self,
        model: str,
        *,
        family: str,
        epochs_j: Sequence[float | None],
        held: Sequence[int] = (),
        qualities: Sequence[float] = (),
        tactic: str = "baseline",
        **columns: Any,
    ) -> dict[str, Any]:
        """A training cell with one window an epoch; or windows of that energy that hold so many each.

        `qualities` are those that evaluations after each epoch found, of 1 J each, before that of the finished model.
        """
        many = held or [1] * len(epochs_j)
        settings = json.dumps({"epochs": sum(many), "learning_rate": 0.001, "schedule": "one-cycle"})
        shared = {
            "model": model,
            "model_family": family,
            "phase": "training",
            "hyperparameters": settings,
            "block_id": f"t1-{model}",
            "accuracy": 0.95,
        }
        windows = [
            self._window(index, "epoch", start=10.0 + 2 * index, end=12.0 + 2 * index, energy_j=energy, samples=1437 * epochs)
            | {"epoch": sum(many[: index + 1]), "loss": 2.3 / (index + 1), "train_accuracy": 0.5}
            | ({"epochs": epochs} if held else {})
            for index, (energy, epochs) in enumerate(zip(epochs_j, many, strict=True))
        ]
        if qualities:  # in between, as a cell marks them
            after = [(place + 1, found) for place, found in enumerate(qualities)]
            answers = [
                self._window(0, "evaluate", start=100.0 + place, end=100.5 + place, energy_j=1.0, samples=360)
                | {"epoch": epoch, "accuracy": found}
                for place, (epoch, found) in enumerate([*after, (None, qualities[-1])])
            ]
            between = [window for pair in zip(windows, answers, strict=False) for window in pair]
            windows = [window | {"window": place} for place, window in enumerate([*between, answers[-1]])]
        return self.cell(tactic, energy_j=None, windows=windows, **(shared | columns))

    def finish(self) -> Path:
        """Write the manifest."""
        more = {"versions": {"greenray": "0.1.0", "torch": "2.13.0"}, "hardware": {"host-1": {"cpu": "Some CPU"}}}
        tables.write_manifest(open_store(self.out), sweep=self.name, manifest=manifest(self.name, **more))
        return self.out

    def _row(self, tactic: str, *, status: str, attempt: int, **columns: Any) -> dict[str, Any]:
        cuda = columns.get("device", self.device) == "cuda"
        row: dict[str, Any] = {
            "run_id": str(uuid.UUID(int=self.rng.getrandbits(128))),
            "attempt": attempt,
            "round": 1,
            "status": status,
            "phase": "inference",
            "task": "image-classification",
            "model_source": "config",
            "dataset": "digits",
            "dataset_split": "test",
            "batch_size": 32,
            "device": self.device,
            "dtype": "float32",
            "num_threads": 2,
            "settings": json.dumps({"tf32": False, "inference_mode": True}),
            "tactic_params": json.dumps([{"name": tactic}]),
            "host": "host-1",
            "cpu_name": "Some CPU",
            "gpu_uuid": "GPU-1" if cuda else None,
            "gpu_name": "NVIDIA H200" if cuda else None,
            "power_limit_w": 700.0 if cuda else None,
            "driver_version": "570.00" if cuda else None,
            "python_version": "3.11.9",
            "torch_version": "2.13.0",
            "transformers_version": "5.23.0",
            "greenray_version": "0.1.0",
            "started_at": START,
            "finished_at": START + timedelta(seconds=8),
            "duration_s": 8.0,
            "energy_scope": self.scope,
            "parameters": 1_000_000,
            "size_bytes": 4_000_000,
            "macs_per_sample": 5e6,
            "seed": 0,
            "unit": "image",
            "quality_measure": "accuracy",
            **columns,
        }
        identity = json.dumps([self.name, tactic, *(str(row.get(key)) for key in _IDENTITY)])
        row.setdefault("cell_id", "c1-" + hashlib.sha256(identity.encode()).hexdigest()[:16])
        return row

    def _steady(self, index: int, energy_j: float | None, row: Mapping[str, Any], time_s: float | None = None) -> dict[str, Any]:
        samples = 3200
        noisy = None if energy_j is None else energy_j * samples * math.exp(self.rng.gauss(0, self.noise))
        window = self._window(index, "steady", start=10.0 + index, end=11.0 + index, energy_j=noisy, samples=samples)
        slow = (energy_j or 0.004) / 10 if time_s is None else time_s
        window |= {"end_monotonic_s": window["start_monotonic_s"] + slow * samples, "duration_s": slow * samples}
        return window | {"latency_p50_s": slow * 32, "latency_p95_s": slow * 40, "latency_p99_s": slow * 50}

    def _window(self, index: int, kind: str, *, start: float, end: float, energy_j: float | None, samples: int) -> dict[str, Any]:
        return {
            "window": index,
            "kind": kind,
            "start_monotonic_s": start,
            "end_monotonic_s": end,
            "started_at": START,
            "duration_s": end - start,
            "samples": samples,
            "iterations": samples // 32,
            "cpu_energy_j": energy_j,
            "cpu_energy_source": "modelled" if self.modelled else "rapl",
            "cpu_apportioned": False,
            "total_energy_j": energy_j,
            "energy_scope": self.scope,
            "modelled_energy_j": None if energy_j is None else energy_j * self.modelled,
            "neighbours_busy": 0.1,
            "contention": self.contention,
            "grade": "D" if self.modelled else "A",
            "grade_reasons": ["modelled from CPU time"] if self.modelled else [],
        }

    def _trace(self) -> dict[str, list[Any]]:
        times = [9.0 + index * 0.02 for index in range(250)]
        power = [60.0 if t < 10 else 200.0 + 10 * math.sin(t * 7) for t in times]
        return {"monotonic_s": times, "sensor": ["gpu:GPU-1"] * len(times), "power_w": power}


_IDENTITY = ("model", "model_source", "batch_size", "device", "round", "bracket", "phase", "visit_of_bracket", "block_id")


def quickstart(out: Path, *, rounds: int = 1, models: Mapping[str, tuple[str, float]] = MODELS, **options: Any) -> Path:
    """A whole sweep: every model, every tactic, `rounds` visits each, and one cell that is unsupported."""
    sweep = Sweep(out=out, **options)
    for model, (family, energy_j) in models.items():
        sweep.train(model, family=family, epochs_j=[20.0 + (index == 0) for index in range(10)])
        sweep.rounds(rounds, model, family=family, energy_j=energy_j, tactics=TACTICS)
        why: dict[str, Any] = {"energy_j": None, "status": "unsupported", "error": "needs a newer processor"}
        sweep.cell("int8-dynamic", **why, model=model, model_family=family, visit=1, block_id=f"b1-{model}-1")
    return sweep.finish()
