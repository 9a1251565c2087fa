"""A sweep beside a plug meter: from its address in the config to the windows, the manifest and the sentence in the report."""

from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests.support.plugmeter import HttpMeter
from tests.support.powercap import LiveTree, make_tree
from tests.support.running import QUICK, cells, greenray, tiny_serving, write_config

OVERHEAD_W = 12.0
EFFICIENCY = 0.8
SERVING = tiny_serving("baseline", models=[{"architecture": "resnet", "preset": "tiny"}])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HttpMeter]:
    """A host whose processors and memory feed on a power supply with a plug meter that counts joules."""
    folder = tmp_path_factory.mktemp("wall")
    root = make_tree(folder, {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "dram"})
    files = sorted((root / "intel-rapl:0").rglob("energy_uj"))
    meter = HttpMeter(lambda now_s: OVERHEAD_W * now_s)
    meter.energy_j = lambda: meter.power_w(time_s()) + sum(int(file.read_text()) for file in files) * 1e-6 / EFFICIENCY
    wall_meter = {
        "url": f"http://reader:hush@{meter.address}/{{host}}?key=hush",
        "value": "plug.0.joules",
        "time": "plug.0.at",
        "unit": "J",
        "period_s": 0.1,
    }
    config = write_config(folder, SERVING, measure={**QUICK, "window_s": 1.0}, host={"wall_meter": wall_meter})
    out = folder / "out"
    try:
        with LiveTree(root, idle_w=30, active_w=20):
            ended = greenray("sweep", config, "--out", out, env={"GREENRAY_POWERCAP_ROOT": str(root)})
    finally:
        meter.close()
    assert ended.code == 0, ended.err + ended.out
    return out, meter


def time_s() -> float:
    import time

    return time.monotonic()


def test_every_window_has_the_energy_at_the_plug(swept: tuple[Path, HttpMeter]) -> None:
    out, _ = swept
    rows = reader.scan(out, table="windows").collect()
    long = rows.filter(pl.col("duration_s") > 0.3)
    assert long.height >= 2
    assert long["wall_energy_j"].null_count() == 0, long["grade_reasons"].to_list()
    assert long.select("wall_check", "wall_parts_energy_j", "wall_energy_error_j").null_count().row(0) == (0, 0, 0)
    assert set(long["wall_parts"]) == {"cpu+dram"}
    expected = pl.col("wall_parts_energy_j") / EFFICIENCY + OVERHEAD_W * pl.col("duration_s")
    # The meter's program and the cell compete for the same processors, so its stamps are late by some milliseconds.
    off = long.select((pl.col("wall_energy_j") / expected - 1).abs()).to_series()
    assert (off < 0.05).all(), off
    assert (long["wall_energy_error_j"] < 0.1 * long["wall_energy_j"]).all()
    assert long["wall_check"].all()
    # What is too short for the meter says so.
    for row in rows.filter(pl.col("wall_energy_j").is_null()).iter_rows(named=True):
        assert any(reason.startswith("wall: ") for reason in row["grade_reasons"]), row


def test_a_host_with_rapl_has_nothing_modelled(swept: tuple[Path, HttpMeter]) -> None:
    steady = reader.scan(swept[0], table="windows").filter(pl.col("kind") == "steady").collect()
    assert set(steady["cpu_energy_source"]) == {"rapl"}
    assert set(steady["energy_scope"]) == {"gpu+cpu+dram" if steady["gpu_uuid"].null_count() == 0 else "cpu+dram"}
    assert (steady["modelled_energy_j"] == 0).all()
    assert (steady["cpu_energy_j"] > 0).all()
    assert "D" not in set(steady["grade"])


def test_the_readings_are_in_the_trace(swept: tuple[Path, HttpMeter]) -> None:
    out, meter = swept
    samples = reader.scan(out, table="trace").filter(pl.col("sensor") == f"wall:{meter.address}").collect()
    of_cells = samples.group_by("run_id").agg(pl.len(), pl.col("counter_j").null_count().alias("unknown"))
    assert of_cells.height == cells(out).height
    assert (of_cells["len"] > 5).all()
    assert of_cells["unknown"].sum() == 0


def test_the_report_says_what_the_parts_explain(swept: tuple[Path, HttpMeter]) -> None:
    out, _ = swept
    text = (out / "report.md").read_text()
    host = cells(out)["host"][0]
    quality = text.replace("\\", "").split("## How good the measurements are")[1].split("\n## ")[0]
    assert f"Wall meter: on {host}, cpu+dram explain" in quality
    assert "of the energy at the plug" in (out / "report.html").read_text()


def test_the_meters_credentials_are_nowhere_in_the_store(swept: tuple[Path, HttpMeter]) -> None:
    out, meter = swept
    assert any(path.endswith("?key=hush") and login for path, login in meter.hits)
    kept = [file for file in out.rglob("*") if file.is_file()]
    assert not [file for file in kept if b"hush" in file.read_bytes()]
    assert f"http://***@{meter.address}/{{host}}?***" in (out / "manifests" / "t.json").read_text()
