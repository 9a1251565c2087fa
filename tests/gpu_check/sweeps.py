"""Sections 7 and 8: real sweeps on the board, under every tactic and the chains that some need: a ViT-B, and the quickstart."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from greenray.store import tables
from greenray.store.registry import open_store
from greenray.tactics.registry import TACTICS, tactic_class
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.load import ROOT
from tests.gpu_check.rig import Rig

ALONE = tuple(name for name in TACTICS if not tactic_class(name).changes_hardware)
"""Every tactic but those that would change a setting of a board, which need not be ours."""
CHAINS = ("bf16+compile", "int8-dynamic+compile", "bf16+int8-dynamic+compile", "fp8-dynamic+compile", "bf16+sparse-2-4")
ASKED = [*ALONE, *(chain.split("+") for chain in CHAINS)]

FINE = ("ok", "unsupported", "not_applied")
# Before the section's own end: the cell in flight ends, or is stopped, and the rows are read.
_LEFT_S, _GENTLE_S, _FIRM_S = 40.0, 15.0, 10.0

METHOD = (
    "`greenray sweep`, as a user runs it. J an image: total energy of the steady windows over their images; GPU: the board's "
    "part. Grade: the worst of the steady windows."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How a sweep ended. `stopped`: it was stopped because its time ran out."""

    out: Path
    exit_code: int
    stopped: bool
    stdout: str
    stderr: str


def run_vit(rig: Rig) -> Finding:
    """Section 7."""
    model = rig.folder / "model" / "vit-b"
    save_vit(model)
    config = rig.folder / "vit-b.yaml"
    config.write_text(yaml.safe_dump(vit_config(model), sort_keys=False), encoding="utf-8")
    swept = sweep(config, rig.folder / "vit-b", until_s=rig.deadline_s - _LEFT_S)
    return judge(swept, device="cuda", gpu_uuid=rig.gpu.uuid)


def run_quickstart(rig: Rig) -> Finding:
    """Section 8."""
    config = rig.folder / "quickstart.yaml"
    config.write_text(yaml.safe_dump(quickstart_config(), sort_keys=False), encoding="utf-8")
    swept = sweep(config, rig.folder / "quickstart", until_s=rig.deadline_s - _LEFT_S)
    return judge(swept, device="cuda", gpu_uuid=rig.gpu.uuid)


def quickstart_config() -> dict[str, Any]:
    """configs/quickstart.yaml, one round of it, with all that is asked for in its experiment `serve`."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8"))
    for experiment in config["experiments"]:
        experiment["rounds"] = 1  # whether all can be measured is asked here, not how sure a comparison is
        if experiment["name"] == "serve":
            experiment["tactics"] = ASKED
    return config


def vit_config(model: Path) -> dict[str, Any]:
    """A sweep of the model that `save_vit` wrote."""
    return {
        "name": "vit-b",
        "experiments": [
            {
                "name": "serve",
                "phase": "inference",
                "task": "image-classification",
                "models": [{"id": str(model)}],
                # Handwritten digits, resized to 224 x 224: needs no download, and the work is the same for any picture.
                "datasets": [{"id": "digits", "samples": 256}],
                "tactics": ASKED,
                "batch_sizes": [64],
                "devices": ["auto"],
                "rounds": 1,
            }
        ],
        "measure": {"window_s": 1, "min_windows": 3, "max_windows": 3, "min_counter_updates": 50, "idle_s": 2, "warmup_max_s": 4},
        "limits": {"cell_timeout_s": 150, "max_attempts": 1},
    }


def save_vit(folder: Path, **fields: Any) -> None:
    """Writes a ViT with random weights (ViT-B/16 unless `fields` says otherwise) for the ten digits, and its image processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(num_labels=10, **fields)
    names = {index: str(index) for index in range(10)}
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    ViTForImageClassification(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": config.image_size, "width": config.image_size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")


def sweep(config: Path, out: Path, *, until_s: float) -> Swept:
    """Runs `greenray sweep`; at `until_s` (CLOCK_MONOTONIC) it is asked to stop, then told to, then killed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "greenray.cli.app", "sweep", str(config), "--out", str(out)]
    streams = {name: config.with_suffix(f".{name}") for name in ("stdout", "stderr")}
    with streams["stdout"].open("w") as stdout, streams["stderr"].open("w") as stderr:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        stopped = False
        for wait_s in (max(0.0, until_s - time.monotonic()), _GENTLE_S, _FIRM_S):
            try:
                process.wait(wait_s)
                break
            except subprocess.TimeoutExpired:
                stopped = True
                process.send_signal(signal.SIGINT)
        else:
            process.kill()
            process.wait(30)
    return Swept(
        out=out,
        exit_code=process.returncode,
        stopped=stopped,
        stdout=streams["stdout"].read_text(encoding="utf-8", errors="replace"),
        stderr=streams["stderr"].read_text(encoding="utf-8", errors="replace"),
    )


def judge(swept: Swept, *, device: str, gpu_uuid: str | None) -> Finding:
    """What the store holds after a sweep: every cell in a row, and what is wrong in words."""
    cells = read_cells(swept.out)
    bad = [cell for cell in cells if cell["status"] not in FINE]
    notes = [f"{_name(cell)} ended {cell['status']}: {cell['error'] or 'no error was given'}." for cell in bad]
    measured = [cell for cell in cells if cell["status"] == "ok" and cell["device"] == device]
    unmetered = [cell for cell in measured if device == "cuda" and cell["gpu_energy_a_sample_j"] is None]
    notes += [f"{_name(cell)} is ok, but its energy is unknown: {cell['grade_reasons']}." for cell in unmetered]
    if gpu_uuid is not None and any(cell["gpu_uuid"] not in (gpu_uuid, None) for cell in cells):
        notes.append("Some cells ran on another board than the one that was checked.")
    if swept.exit_code != 0 and not swept.stopped:
        notes.append(f"The sweep ended with exit code {swept.exit_code}: {_last(swept.stderr) or _last(swept.stdout)}")
    columns = [
        "model",
        "tactic",
        "device",
        "status",
        "J an image",
        "GPU J an image",
        "grade",
        "why no better",
        "evidence or error",
    ]
    rows = [
        [
            cell["model"],
            cell["tactic"],
            cell["device"],
            cell["status"],
            cell["energy_a_sample_j"],
            cell["gpu_energy_a_sample_j"],
            cell["grade"] or "-",
            cell["grade_reasons"] or "-",
            cell["error"] or cell["evidence"] or "-",
        ]
        for cell in cells
    ]
    counts = {status: sum(cell["status"] == status for cell in cells) for status in sorted({cell["status"] for cell in cells})}
    told = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    summary = f"{len(cells)} cells have ended ({told}), {len(measured)} measured on {device}."
    verdict = "ok"
    if bad or unmetered or not measured or (swept.exit_code != 0 and not swept.stopped):
        verdict = "off"
    elif swept.stopped:
        verdict = "cut short"
    if verdict == "off" and not (bad or unmetered) and measured and _last(swept.stderr).startswith("ModuleNotFoundError"):
        verdict = "unclear"  # the cells are fine; a host without the report's libraries can still be checked
    if swept.stopped:
        summary += " The time ran out before all cells were measured."
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        summary=summary,
        method=METHOD,
        tables=[Table(title="Cells", columns=columns, rows=rows)],
        notes=notes,
        data={"cells": cells, "exit_code": swept.exit_code, "stdout": swept.stdout[-6000:], "stderr": swept.stderr[-3000:]},
    )


def read_cells(out: Path) -> list[dict[str, Any]]:
    """One plain row a settled attempt, in the order in which they ran. Read with pyarrow alone: Polars may be missing."""
    import pyarrow.parquet as pq

    found = []
    for entry in tables.entries(open_store(out), table="cells"):
        cell = pq.ParquetFile(out / entry.key).read().to_pylist()[0]
        place = out / tables.table_key(
            table="windows", sweep=entry.sweep, tactic=entry.tactic, cell_id=entry.cell_id, attempt=entry.attempt
        )
        windows = pq.ParquetFile(place).read().to_pylist() if place.exists() else []
        steady = [window for window in windows if window["kind"] == "steady" and window["rejected"] is None]
        reasons = sorted({reason for window in steady for reason in window["grade_reasons"] or []})
        bracket = f" ({cell['bracket']})" if cell["bracket"] else ""
        kept = ("model", "device", "status", "error", "evidence", "grade", "gpu_uuid", "phase", "duration_s", "accuracy")
        found.append(
            {name: cell[name] for name in kept}
            | {
                "tactic": ("training" if cell["phase"] == "training" else entry.tactic) + bracket,
                "energy_a_sample_j": _a_sample(steady, "total_energy_j"),
                "gpu_energy_a_sample_j": _a_sample(steady, "gpu_energy_j"),
                "windows": len(steady),
                "grade_reasons": "; ".join(reasons),
                "started_at": str(cell["started_at"]),
            }
        )
    return sorted(found, key=lambda cell: cell["started_at"])


def _a_sample(windows: list[dict[str, Any]], column: str) -> float | None:
    """Joules a sample over all windows; None when one of them is unknown."""
    joules, samples = [window[column] for window in windows], sum(window["samples"] for window in windows)
    return None if not samples or any(value is None for value in joules) else sum(joules) / samples


def _name(cell: Mapping[str, Any]) -> str:
    return f"{Path(cell['model']).name} {cell['tactic']} on {cell['device']}"


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else ""
