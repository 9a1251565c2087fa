"""What a cell does to itself costs only itself: its row says what happened, and the sweep goes on."""

import socket
from pathlib import Path

import polars as pl

from tests.support.processes import left_of_sweep
from tests.support.running import cells, greenray, tiny_serving, write_config

WAYS = ("segfault", "allocate", "ignore-sigterm", "kill-worker")


def test_every_way_of_failing_costs_only_its_cell(tmp_path: Path) -> None:
    tactics = ["baseline", "prune-local", *({"misbehave": {"how": how}} for how in WAYS)]
    config = write_config(
        tmp_path,
        tiny_serving(*tactics, models=[{"architecture": "resnet", "preset": "tiny"}]),
        limits={"max_attempts": 1, "cell_timeout_s": 8, "cell_memory_bytes": 1_000_000_000},
    )
    out = tmp_path / "out"
    ended = greenray("sweep", config, "--out", out, timeout_s=170)
    assert ended.code == 1, ended.err + ended.out
    rows = cells(out).filter(pl.col("bracket").is_null())
    by_tactic = {row["tactic"]: row for row in rows.iter_rows(named=True)}
    expected = {
        "prune-local": ("ok", None, None),
        "misbehave_how-segfault": ("crashed", "signal", "SIGSEGV"),
        "misbehave_how-allocate": ("oom", "memory", "memory"),
        "misbehave_how-ignore-sigterm": ("timeout", "deadline", "8 s"),
        "misbehave_how-kill-worker": ("crashed", "worker", f"its process on {socket.gethostname()} ended"),
    }
    assert rows.height == len(expected)
    for tactic, (status, kind, part) in expected.items():
        row = by_tactic[tactic]
        assert (row["status"], row["error_kind"]) == (status, kind), row["error"]
        assert part is None or part in row["error"], row["error"]
        if kind != "worker":  # what it cost is known also where it failed
            assert row["energy_j"] > 0
    # The block went on as a new visit when its worker had died, with brackets of its own.
    brackets = cells(out).filter(pl.col("bracket").is_not_null())
    assert brackets["visit"].max() in (1, 2)
    assert brackets.filter(pl.col("status") != "ok").is_empty()
    assert not left_of_sweep(out, timeout_s=20)
