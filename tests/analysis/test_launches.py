"""Boards that waited for their host, and boards that were still heating up: said above the first figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from greenray.analysis import Analysis, analyse
from greenray.report import build
from greenray.report.markdown import render
from tests.support.synthetic import Sweep


def swept(
    out: Path, *, ratios: dict[str, float], shares: Mapping[str, float] = MappingProxyType({}), **settings: Any
) -> Analysis:
    """A visit on a GPU; `ratios` of the throughputs, and `shares` of the time that the board needs itself, by tactic."""
    sweep = Sweep(out=out, device="cuda", scope="gpu+cpu", noise=0.0)
    for order, (tactic, ratio) in enumerate(ratios.items()):
        sweep.cell(
            tactic,
            energy_j=0.004,
            model="vit-tiny",
            model_family="vit",
            visit=1,
            block_id="b1",
            bracket={0: "open", len(ratios) - 1: "close"}.get(order),
            order_in_visit=order,
            latency_bound=ratio > 1.15,
            synchronized_samples_per_s=1000.0,
            unsynchronized_samples_per_s=1000.0 * ratio,
            measured_batch_size=4 if tactic == "batch-size_size-4" else None,
            device_time_share=shares.get(tactic),
            peak_gpu_memory_bytes=3_000_000_000,
            peak_gpu_memory_load_bytes=4_500_000_000,
            settings=json.dumps(settings),
        )
    return analyse(sweep.finish())


def headline(analysis: Analysis) -> str:
    return " ".join(caveat.text for caveat in analysis.caveats if caveat.weighty)


def test_who_waits_is_named_with_what_it_means(tmp_path: Path) -> None:
    analysis = swept(tmp_path / "out", ratios={"baseline": 2.31, "bf16": 1.6, "compile": 1.02})
    text = headline(analysis)
    assert "in 2 of 3 cells on a GPU it could do up to 2.3 times the work" in text
    assert "(vit-tiny on batches of 32: baseline, bf16)" in text
    assert "energy per image is that x time" in text
    assert "in_flight: 2" in text
    page = render(build(analysis))
    assert page.index("The board waits for its host") < page.index("| ")  # before the first table


def test_a_host_that_is_slower_than_its_board_makes_it_wait_too(tmp_path: Path) -> None:
    """Both loops are as slow as the host then; only the board's own time tells."""
    ratios, shares = {"baseline": 1.02, "bf16": 1.01, "compile": 1.02}, {"baseline": 0.25, "bf16": 0.2, "compile": 0.95}
    text = headline(swept(tmp_path / "out", ratios=ratios, shares=shares))
    assert "in 2 of 3 cells on a GPU it could do up to 5.0 times the work (vit-tiny on batches of 32: baseline, bf16)" in text


def test_a_tactic_that_chose_another_batch_is_named_with_its_own(tmp_path: Path) -> None:
    text = headline(swept(tmp_path / "out", ratios={"baseline": 1.0, "batch-size_size-4": 2.0}))
    assert "vit-tiny on batches of 4: batch-size_size-4" in text


def test_nobody_is_advised_to_do_what_is_done_already(tmp_path: Path) -> None:
    text = headline(swept(tmp_path / "out", ratios={"baseline": 1.3, "bf16": 1.0, "x": 1.0}, in_flight=2))
    assert "A larger batch or compile with mode reduce-overhead" in text
    assert "in_flight" not in text


def test_where_nobody_waits_nothing_is_said(tmp_path: Path) -> None:
    assert "waits for its host" not in headline(swept(tmp_path / "out", ratios={"baseline": 1.05, "bf16": 1.1, "x": 1.14}))


def test_rows_from_before_know_nothing_of_it(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", device="cuda", scope="gpu+cpu")
    sweep.cell("baseline", energy_j=0.004, model="vit-tiny", model_family="vit")
    assert "waits for its host" not in headline(analyse(sweep.finish()))


def test_a_board_that_still_heats_up_is_told(tmp_path: Path) -> None:
    ratios = {"baseline": 1.0, "bf16": 1.0, "compile": 1.0}
    assert "Still heating up: in all 3 cells" in headline(swept(tmp_path / "cold", ratios=ratios, warmup_warm=False))
    assert "heating" not in headline(swept(tmp_path / "warm", ratios=ratios, warmup_warm=True))
    assert "heating" not in headline(swept(tmp_path / "unknown", ratios=ratios, warmup_warm=None))


def test_memory_is_shown_as_it_was_measured_and_before(tmp_path: Path) -> None:
    page = render(build(swept(tmp_path / "out", ratios={"baseline": 1.0, "bf16": 1.0, "x": 1.0})))
    assert "3.00 GB (4.50 GB before)" in page
