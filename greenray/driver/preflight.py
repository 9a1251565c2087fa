"""What is checked before the first cell: names that exist, a store that fits, a folder that every worker sees."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from greenray import __version__
from greenray.config.cell import Block
from greenray.config.spec import SweepConfig
from greenray.driver.schedule import FINAL, Ledger
from greenray.errors import ConfigError, StoreError
from greenray.store import reader
from greenray.store.schema import SCHEMA_VERSION
from greenray.tasks.registry import task_class
from greenray.worker.assignment import WorkerInfo

_LEDGER_COLUMNS = ["cell_id", "block_id", "attempt", "status", "error_kind", "visit", "phase", "device", "model", "tactic"]
_LEDGER_COLUMNS += ["duration_s", "gpu_name", "cpu_name"]


def check_names(config: SweepConfig, blocks: Iterable[Block]) -> None:
    """Check that every model and dataset exists: cache first, then the hub.

    Raises:
        ResourceError: one is missing, or cannot be reached and is not cached.
    """
    seen: set[str] = set()
    for block in blocks:
        cell = block.cells[0]
        names = {f"{cell.task} {cell.model!r}", f"{cell.task} {cell.dataset!r}"}
        if not names <= seen:
            task_class(cell.task).check_model(cell.model, trust=config.trust)
            task_class(cell.task).check_dataset(cell.dataset)
        seen |= names


def read_ledger(out: Path, *, sweep: str) -> tuple[Ledger, list[dict[str, Any]]]:
    """What the store holds of a sweep: the schedule's ledger, and the rows it came from (oldest first)."""
    if not (out / "cells" / f"sweep={sweep}").is_dir():
        return Ledger(), []
    rows = reader.scan(out, table="cells", sweep=sweep).select(_LEDGER_COLUMNS).sort("cell_id", "attempt").collect().to_dicts()
    ledger = Ledger()
    for row in rows:
        ledger.add(row)
    return ledger, rows


def check_store(
    out: Path, *, config: SweepConfig, blocks: Sequence[Block], rows: Sequence[Mapping[str, Any]], infos: Sequence[WorkerInfo]
) -> None:
    """Check that what the store holds can stand beside what this sweep would add.

    Raises:
        ConfigError: `measure` or the CPU model differs from the manifest's, or settled cells come from hardware of which
            nothing is present now.
    """
    way_out = "give a new folder with --out, a new name: in the config, or --extend to take them over"
    manifest = reader.manifests(out).get(config.name) if (out / "manifests" / f"{config.name}.json").exists() else None
    if manifest is None or not rows:
        return
    for key, asked in (("measure", config.measure), ("cpu_model", config.host.cpu_model)):
        before, now = manifest.get(key, {}), asked.model_dump(mode="json")
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            differences = ", ".join(f"{name} was {before.get(name)} and is {now[name]}" for name in changed)
            raise ConfigError(f"{out} holds cells of {config.name} measured otherwise ({key}: {differences}); {way_out}.")
    declared = {cell.cell_id for block in blocks for cell in block.cells}
    present: dict[str, set[str | None]] = {
        "cuda": {info.gpu_name for info in infos if info.uses_cuda},
        "cpu": {info.cpu_name for info in infos},
    }
    for row in rows:
        name = row["gpu_name"] if row["device"] == "cuda" else row["cpu_name"]
        if row["status"] == "ok" and row["cell_id"] in declared and name is not None and name not in present[row["device"]]:
            raise ConfigError(f"{out} holds cells of {config.name} measured on {name}, which is not present now; {way_out}.")


@contextmanager
def probe_file(out: Path) -> Iterator[Path]:
    """A fresh file in the store, for workers to look for."""
    probe = out / ".staging" / f"probe-{uuid.uuid4().hex}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror}).") from None
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)


def manifest(
    config: SweepConfig, *, blocks: Sequence[Block], infos: Sequence[WorkerInfo], auto_device: str, refused: Sequence[str] = ()
) -> dict[str, Any]:
    """What `manifests/<name>.json` holds: enough to tell what was asked, of what, and on what.

    `refused` are sentences about boards and workers that could not be used.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "greenray_version": __version__,
        "written_at": datetime.now(UTC).isoformat(),
        "auto_device": auto_device,
        "config": config.model_dump(mode="json", by_alias=True, exclude={"folder"}),
        "measure": config.measure.model_dump(mode="json"),
        "cpu_model": config.host.cpu_model.model_dump(mode="json"),
        "cells": [
            {
                "cell_id": cell.cell_id,
                "block_id": cell.block_id,
                "experiment": cell.experiment,
                "phase": cell.phase,
                "model": cell.model.label,
                "dataset": cell.dataset.id,
                "device": cell.device,
                "tactic": cell.tactic_slug,
                "round": cell.round,
            }
            for block in blocks
            for cell in block.cells
        ],
        "hardware": [
            {
                "host": info.host,
                "cpu_name": info.cpu_name,
                "physical_cores": info.physical_cores,
                "gpu_uuid": info.gpu_uuid,
                "gpu_name": info.gpu_name,
                "power_limit_w": info.power_limit_w,
                "driver_version": info.driver_version,
                "uses_cuda": info.uses_cuda,
                "energy_scope": info.energy_scope,
                "versions": info.versions,
            }
            for info in infos
        ],
        "refused": list(refused),
    }


def new_cells(out: Path, *, sweep: str, blocks: Sequence[Block]) -> list[str]:
    """Ids of declared cells that the sweep's earlier manifest did not name; empty when there was none."""
    if not (out / "manifests" / f"{sweep}.json").exists():
        return []
    known = {cell["cell_id"] for cell in reader.manifests(out).get(sweep, {}).get("cells", [])}
    return [cell.cell_id for block in blocks for cell in block.cells if cell.cell_id not in known]


def failures(out: Path, *, sweep: str, blocks: Iterable[Block]) -> int:
    """How many declared cells, and brackets of their latest visits, are settled other than ok, unsupported or not_applied."""
    if not (out / "cells" / f"sweep={sweep}").is_dir():
        return 0
    blocks = list(blocks)
    rows = reader.settled(out, sweep=sweep).select("cell_id", "block_id", "bracket", "visit", "status").collect()
    latest = rows.group_by("block_id").agg(latest=pl.col("visit").max())
    declared = pl.col("cell_id").is_in([cell.cell_id for block in blocks for cell in block.cells])
    of_blocks = pl.col("block_id").is_in([block.block_id for block in blocks])
    bracket = pl.col("bracket").is_not_null() & of_blocks & (pl.col("visit") == pl.col("latest"))
    return rows.join(latest, on="block_id").filter((declared | bracket) & ~pl.col("status").is_in(list(FINAL))).height
