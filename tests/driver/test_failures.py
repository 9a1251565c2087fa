"""What a cell does to itself costs only itself: its row says what happened, and the sweep goes on."""

from pathlib import Path

import polars as pl

from tests.support.running import TINY_TRAINING, cells, greenray, of_sweep, tiny_serving, wait_until, write_config

WAYS = ("segfault", "allocate", "hang", "ignore-sigterm", "kill-worker")


def test_every_way_of_failing_costs_only_its_cell(tmp_path: Path) -> None:
    tactics = ["baseline", "prune-local", *({"misbehave": {"how": how}} for how in WAYS)]
    config = write_config(
        tmp_path,
        TINY_TRAINING,
        tiny_serving(*tactics),
        limits={"max_attempts": 1, "cell_timeout_s": 8, "cell_memory_bytes": 1_000_000_000},
    )
    out = tmp_path / "out"
    ended = greenray("sweep", config, "--out", out, timeout_s=170)
    assert ended.code == 1, ended.err + ended.out
    rows = cells(out).filter(pl.col("bracket").is_null() & (pl.col("phase") == "inference"))
    by_tactic = {row["tactic"]: row for row in rows.iter_rows(named=True)}
    expected = {
        "prune-local": ("ok", None, None),
        "misbehave_how-segfault": ("crashed", "signal", "SIGSEGV"),
        "misbehave_how-allocate": ("oom", "memory", "memory"),
        "misbehave_how-hang": ("timeout", "deadline", "8 s"),
        "misbehave_how-ignore-sigterm": ("timeout", "deadline", "8 s"),
        "misbehave_how-kill-worker": ("crashed", "worker", "worker"),
    }
    assert rows.height == len(expected)
    for tactic, (status, kind, part) in expected.items():
        row = by_tactic[tactic]
        assert (row["status"], row["error_kind"]) == (status, kind), row["error"]
        assert part is None or part in row["error"]
        if kind != "worker":  # what it cost is known also where it failed
            assert row["energy_j"] > 0
    # The block went on as a new visit when its worker had died, with brackets of its own.
    brackets = cells(out).filter(pl.col("bracket").is_not_null())
    assert brackets["visit"].max() in (1, 2)
    assert brackets.filter(pl.col("status") != "ok").is_empty()
    wait_until(lambda: not of_sweep(out), timeout_s=5, what="the end of every process")


def test_a_lost_checkpoint_fails_what_needs_it_and_names_it_until_the_training_is_ok(tmp_path: Path) -> None:
    experiments = (TINY_TRAINING, tiny_serving("baseline", "prune-local"))
    out = tmp_path / "out"
    config = write_config(tmp_path, *experiments, limits={"max_attempts": 1, "cell_memory_bytes": 1_000_000})
    assert greenray("sweep", config, "--out", out).code == 1
    rows = cells(out)
    trained = rows.filter(pl.col("phase") == "training")
    served = rows.filter(pl.col("phase") == "inference")
    assert trained["status"].to_list() == ["oom"]
    assert served.select("status", "error_kind").rows() == [("failed", "dependency")]
    assert trained["cell_id"][0] in served["error"][0]
    config = write_config(tmp_path, *experiments, limits={"max_attempts": 2})
    assert greenray("sweep", config, "--out", out).code == 0
    attempts = cells(out).filter(pl.col("bracket").is_null()).sort("phase", "attempt").select("phase", "attempt", "status").rows()
    assert attempts == [
        ("inference", 1, "failed"),
        ("inference", 2, "ok"),
        ("training", 1, "oom"),
        ("training", 2, "ok"),
    ]
