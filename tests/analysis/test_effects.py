"""Known effects go in, the same effects come out; what cannot be known is flagged, not made up."""

import math
from pathlib import Path

import pytest

from greenray.analysis import Analysis, analyse
from greenray.analysis.findings import Finding
from tests.support.synthetic import MODELS, TACTICS, Sweep, quickstart


def only(analysis: Analysis) -> Finding:
    (finding,) = analysis.findings
    return finding


def one_visit(out: Path, *, tactics: dict[str, float] | None = None, **options: object) -> Analysis:
    closing = bool(options.pop("closing", True))
    sweep = Sweep(out=out, **options)  # type: ignore[arg-type]
    sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics=tactics or {"compile": 0.8}, closing=closing)
    return analyse(sweep.finish())


def test_known_ratios_are_recovered_for_every_model_and_over_models(tmp_path: Path) -> None:
    analysis = analyse(quickstart(tmp_path / "out", rounds=3, noise=0.002))
    assert len(analysis.findings) == len(MODELS) * len(TACTICS)
    for finding in analysis.findings:
        energy, truth = finding.effect.energy, TACTICS[finding.effect.tactic]
        assert energy is not None
        assert energy.ratio == pytest.approx(truth, rel=0.01)
        assert energy.basis == "3 rounds"
        assert finding.effect.time is not None
        assert finding.effect.time.ratio == pytest.approx(truth, rel=0.01)
    assert {effect.tactic: round(effect.energy.ratio, 2) for effect in analysis.overall if effect.energy} == TACTICS
    assert all(effect.families == 3 and effect.energy and effect.energy.low for effect in analysis.overall)


def test_three_rounds_give_an_interval_that_covers_what_varies_between_them(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.001, visit_noise=0.05, seed=11)
    tactics = {f"tactic-{index}": 0.7 for index in range(60)}
    for round_ in (1, 2, 3):
        sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics=tactics, round_=round_)
    analysis = analyse(sweep.finish())
    energies = [finding.effect.energy for finding in analysis.findings if finding.effect.energy]
    assert {energy.basis for energy in energies} == {"3 rounds"}
    assert sum((e.low or 9) <= 0.7 <= (e.high or 0) for e in energies) / len(energies) >= 0.9


def test_drift_is_flagged(tmp_path: Path) -> None:
    calm = only(one_visit(tmp_path / "calm", drift=0.0))
    drifting = one_visit(tmp_path / "drifting", drift=0.05)
    finding = only(drifting)
    assert calm.effect.flags == ()
    assert finding.effect.drift == pytest.approx(0.05, abs=0.02)
    assert any("disagree" in flag for flag in finding.effect.flags)
    assert any(caveat.text.startswith("Drift") for caveat in drifting.caveats)


def test_visit_cut_short_is_used_and_flagged(tmp_path: Path) -> None:
    analysis = one_visit(tmp_path / "out", closing=False)
    effect = only(analysis).effect
    assert effect.energy is not None
    assert effect.energy.ratio == pytest.approx(0.8, rel=0.02)
    assert effect.drift is None
    assert any("cut short" in flag for flag in effect.flags)
    assert any(caveat.text.startswith("Cut short") for caveat in analysis.caveats)


def test_without_an_opening_baseline_there_is_no_effect(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    block = {"model": "vit-tiny", "visit": 1, "block_id": "b1"}
    sweep.cell("baseline", energy_j=None, status="crashed", error="exit by signal 11", bracket="open", **block)
    sweep.cell("compile", energy_j=0.003, **block)
    analysis = analyse(sweep.finish())
    assert analysis.findings == ()
    assert analysis.headline == ["vit-tiny: baseline crashed (exit by signal 11)."]


def test_visits_are_never_mixed(tmp_path: Path) -> None:
    """A board twice as hungry opens a second visit: its tactic is compared with its own baselines."""
    sweep = Sweep(out=tmp_path / "out", noise=0.001)
    for visit, energy_j in ((1, 0.004), (2, 0.008)):
        sweep.visit("vit-tiny", family="vit", energy_j=energy_j, tactics={f"tactic-{visit}": 0.5}, visit=visit, model_source=None)
    for finding in analyse(sweep.finish()).findings:
        assert finding.effect.energy is not None
        assert finding.effect.energy.ratio == pytest.approx(0.5, rel=0.01)


def test_other_scope_or_device_is_not_compared(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    block = {"model": "vit-tiny", "visit": 1, "block_id": "b1"}
    sweep.cell("baseline", energy_j=0.004, bracket="open", **block)
    sweep.cell("compile", energy_j=0.003, host="host-2", **block)
    sweep.scope = "gpu+cpu"
    sweep.cell("prune-local", energy_j=0.003, **block)
    by_tactic = {finding.effect.tactic: finding for finding in analyse(sweep.finish()).findings}
    assert by_tactic["compile"].effect.energy is None
    assert "another device" in by_tactic["compile"].sentence
    assert by_tactic["prune-local"].effect.energy is None
    assert "energy counts gpu+cpu here and cpu in the baseline" in by_tactic["prune-local"].sentence


def test_unknown_totals_stay_unknown(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    block = {"model": "vit-tiny", "visit": 1, "block_id": "b1"}
    sweep.cell("baseline", energy_j=0.004, bracket="open", **block)
    sweep.cell("compile", energy_j=None, **block)
    finding = only(analyse(sweep.finish()))
    assert finding.effect.energy is None
    assert finding.effect.time is not None
    assert finding.tactic_cost.electricity is None
    assert finding.tactic_cost.grams is None
    assert finding.energy_break_even == "unknown"
    assert "no comparison of energy" in finding.sentence


def test_rejected_windows_do_not_count(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    row = {"model": "vit-tiny", "visit": 1, "block_id": "b1"}
    good = [sweep._window(index, "steady", start=index, end=index + 1.0, energy_j=3.2, samples=1000) for index in range(3)]
    bad = good[0] | {"window": 3, "total_energy_j": 99.0, "rejected": "a recompile inside it"}
    load = good[0] | {"window": 4, "kind": "load", "samples": 0, "total_energy_j": 50.0}
    sweep.cell("baseline", energy_j=0.004, bracket="open", **row)
    sweep.cell("compile", energy_j=None, windows=[*good, bad, load], **row)
    effect = only(analyse(sweep.finish())).effect
    assert effect.tactic_energy_j == pytest.approx(0.0032)
    assert effect.energy is not None
    assert effect.energy.ratio == pytest.approx(0.8)


def test_first_ok_attempt_settles_a_cell_else_the_last(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    row = {"model": "vit-tiny", "visit": 1, "block_id": "b1"}
    sweep.cell("baseline", energy_j=0.004, bracket="open", **row)
    first = sweep.cell("compile", energy_j=None, status="timeout", error="too slow", **row)
    sweep.cell("compile", energy_j=0.002, attempt=2, cell_id=first["cell_id"], **row)
    sweep.cell("compile", energy_j=0.001, attempt=3, cell_id=first["cell_id"], **row)
    failed = sweep.cell("prune-local", energy_j=None, status="crashed", error="first", **row)
    sweep.cell("prune-local", energy_j=None, status="failed", error="second", attempt=2, cell_id=failed["cell_id"], **row)
    analysis = analyse(sweep.finish())
    assert only(analysis).effect.tactic_energy_j == pytest.approx(0.002)
    assert analysis.headline[-1] == "vit-tiny: prune-local failed (second)."
    assert analysis.frames.attempts.height == 6


def test_one_family_is_said_to_be_these_models_only(tmp_path: Path) -> None:
    models = dict.fromkeys(("vit-a", "vit-b", "vit-c"), ("vit", 0.004))
    analysis = analyse(quickstart(tmp_path / "out", models=models))
    assert all(effect.energy and effect.energy.low is None and effect.families == 1 for effect in analysis.overall)
    assert analysis.over_models == (
        "On these models (3 models of 1 family): no interval (one round of each model), nothing is claimed; energy per image: "
        "compile −20 %, dynamic-quantization −31 %, prune-local 0 %.",
    )
    assert any("Fewer than 3 model families" in caveat.text for caveat in analysis.caveats)


def test_near_duplicates_count_once(tmp_path: Path) -> None:
    """Two of a family at ratio 0.5 weigh as much as one of another at 1."""
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model, family, ratio in (("a1", "a", 0.5), ("a2", "a", 0.5), ("b1", "b", 1.0)):
        sweep.visit(model, family=family, energy_j=0.004, tactics={"compile": ratio})
    (overall,) = analyse(sweep.finish()).overall
    assert overall.energy is not None
    assert overall.energy.ratio == pytest.approx(math.sqrt(0.5))


def test_eight_families_get_a_test(tmp_path: Path) -> None:
    models = {f"m{index}": (f"family-{index}", 0.001 * (index + 1)) for index in range(8)}
    overall = {effect.tactic: effect for effect in analyse(quickstart(tmp_path / "out", models=models, rounds=3)).overall}
    energy = {tactic: effect.measures["energy_j"] for tactic, effect in overall.items()}
    assert energy["compile"].wilcoxon_p == pytest.approx(min(1, energy["compile"].hypotheses * 2 / 2**8))  # all eight agree
    assert (energy["compile"].cliffs_delta or 0) < 0
    assert (energy["prune-local"].wilcoxon_p or 0) > 0.05


def test_modelled_energy_is_estimated_not_used_or_saved(tmp_path: Path) -> None:
    analysis = analyse(quickstart(tmp_path / "out", modelled=0.9, rounds=3))
    text = " ".join(analysis.headline).lower()
    assert "is estimated from cpu time to use" in text
    assert "saved" not in text
    assert "compile uses" not in text
    assert analysis.caveats[0].text.startswith("Estimated from CPU time: in all 48 cells")
    assert analysis.grades == {"D": 210}


def test_devices_and_batch_sizes_are_told_apart(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for batch in (8, 32):
        sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics={"compile": 0.8}, batch_size=batch, round_=batch)
    labels = {finding.label for finding in analyse(sweep.finish()).findings}
    assert labels == {"vit-tiny (batch 8)", "vit-tiny (batch 32)"}


def test_another_batch_is_compared_per_sample_and_not_by_latency(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    cell = {"model": "vit-tiny", "model_family": "vit", "visit": 1, "block_id": "b1-x"}
    for order, (tactic, ratio, size, bracket) in enumerate(
        [
            ("baseline", 1.0, 32, "open"),
            ("batch-size", 0.8, 64, None),
            ("compile", 0.5, None, None),
            ("baseline", 1.0, None, "close"),
        ]
    ):
        sweep.cell(
            tactic, energy_j=0.004 * ratio, bracket=bracket, order_in_visit=order, batch_size=32, measured_batch_size=size, **cell
        )
    compiled, other = sorted((f.effect for f in analyse(sweep.finish()).findings), key=lambda effect: effect.tactic != "compile")
    assert other.energy is not None
    assert other.time is not None
    assert (other.energy.ratio, other.time.ratio) == (pytest.approx(0.8), pytest.approx(0.8))
    assert other.latency_p50 is None
    assert any("batches of 64 against 32" in flag for flag in other.flags)
    assert compiled.latency_p50 is not None  # rows from before know the block's size only
    assert not any("batches" in flag for flag in compiled.flags)


def test_hardware_is_never_mixed_and_versions_are_said(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", device="cuda", scope="gpu+cpu")
    common = {"family": "vit", "energy_j": 0.004, "tactics": {"compile": 0.8}}
    sweep.visit("vit-tiny", round_=1, gpu_name="NVIDIA H200", **common)  # type: ignore[arg-type]
    sweep.visit("vit-tiny", round_=2, gpu_name="NVIDIA A100", **common)  # type: ignore[arg-type]
    sweep.visit("vit-tiny", round_=3, gpu_name="NVIDIA A100", torch_version="2.12.0", **common)  # type: ignore[arg-type]
    a100, h200 = analyse(sweep.finish()).findings
    assert (a100.label, h200.label) == ("vit-tiny (NVIDIA A100)", "vit-tiny (NVIDIA H200)")
    assert (len(a100.effect.visits), len(h200.effect.visits)) == (2, 1)
    assert a100.effect.flags == ("rounds ran with different versions of torch: 2.12.0, 2.13.0",)


def test_a_chained_tactic_keeps_its_name(tmp_path: Path) -> None:
    slug = "prune-global_amount-0.5+compile"
    analysis = one_visit(tmp_path / "out", tactics={slug: 0.8})
    assert only(analysis).effect.tactic == slug


def test_shared_and_unsettled_hosts_are_said_in_the_headline(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    busy = [
        sweep._window(index, "steady", start=index, end=index + 1.0, energy_j=4.0, samples=1000) | {"neighbours_busy": 1.4}
        for index in range(3)
    ]
    sweep.cell("compile", energy_j=None, windows=busy, model="vit-tiny", settings='{"warmup_stable": false}')
    sweep.cell("prune-local", energy_j=0.004, model="vit-tiny", settings="not JSON")
    texts = {caveat.text.split(":")[0]: caveat for caveat in analyse(sweep.finish()).caveats}
    assert texts["Shared host"].weighty
    assert "1 of 2 cells" in texts["Shared host"].text
    assert "1 of 2 cells" in texts["Not warmed up"].text
