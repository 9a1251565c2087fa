"""Accuracy, money, carbon, pay-back, training and the sentences about them."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis import analyse, prices, wording
from greenray.analysis.cost import break_even
from greenray.errors import ConfigError, StoreError
from greenray.report.sections.headline import best_tactics
from greenray.store.registry import open_store
from greenray.store.tables import write_manifest
from tests.support.synthetic import MODELS, Sweep, manifest, quickstart


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quickstart(tmp_path_factory.mktemp("quick") / "out", rounds=3, noise=0.0)


def test_accuracy_is_compared_sample_by_sample(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics={"compile": 0.8}, accuracy_lost=1)
    sweep.visit("resnet-tiny", family="resnet", energy_j=0.004, tactics={"compile": 0.8}, accuracy_lost=20)
    resnet, vit = (finding.accuracy for finding in analyse(sweep.finish()).findings)
    assert vit is not None
    assert vit.difference == pytest.approx(-100 / 360)
    assert (vit.p_value, vit.samples, vit.distinguishable) == (1, 360, False)
    assert vit.agreement == pytest.approx(359 / 360)
    assert resnet is not None
    assert resnet.distinguishable is True
    assert (resnet.high or 0) < 0
    assert resnet.p_value == pytest.approx(2 / 2**20)


def test_the_sentence_says_it_all(quick: Path) -> None:
    sentences = analyse(quick).headline
    assert (
        "vit-tiny: dynamic-quantization uses 31.0 % less energy per image (3 rounds, ±0.0), costs 0.3 points of accuracy "
        "(not distinguishable from none on 360 images), pays back after 9,700 images." in sentences
    )
    assert sentences[-1] == "convnext-tiny, resnet-tiny, vit-tiny: int8-dynamic is unsupported (needs a newer processor)."


def test_an_interval_that_no_plus_minus_can_say_is_said_by_its_ends(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number, ratio in enumerate((0.1, 0.4, 1.6), 1):
        sweep.visit("m", family="m", energy_j=1.0, tactics={"compile": ratio}, round_=number)
    (finding,) = analyse(sweep.finish()).findings
    # The mean of the logs is log 0.4, and a t interval with 2 degrees of freedom a factor of 31 on either side.
    assert "(−60 %, 3 rounds, −99 to +1152 %)" in finding.sentence


def test_money_and_carbon_follow_from_joules(quick: Path) -> None:
    analysis = analyse(quick, region="Ireland")
    finding = next(f for f in analysis.findings if f.label == "vit-tiny" and f.effect.tactic == "compile")
    kwh = 0.004 * 1000 / 3.6e6
    assert finding.baseline_cost.electricity == pytest.approx(kwh * 0.256)
    assert finding.baseline_cost.electricity_currency == "EUR"
    assert finding.tactic_cost.electricity == pytest.approx(kwh * 0.256 * 0.8)
    assert finding.baseline_cost.rent is None
    assert analysis.prices.grid is not None
    assert finding.baseline_cost.grams == pytest.approx(kwh * analysis.prices.grid.value)


def test_rent_follows_from_time(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", device="cuda", scope="gpu+cpu")
    sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics={"compile": 0.8})
    (finding,) = analyse(sweep.finish()).findings
    assert finding.effect.baseline_time_s is not None
    assert finding.baseline_cost.rent == pytest.approx(finding.effect.baseline_time_s * 1000 / 3600 * 4.45)


@pytest.mark.parametrize(
    ("region", "code"), [("DEU", "DEU"), ("germany", "DEU"), (" France ", "FRA"), (None, "WLD"), ("European Union", "EUU")]
)
def test_regions_by_code_or_name(region: str | None, code: str) -> None:
    found = prices.load(region=region)
    assert found.region == code
    assert found.default_region == (region is None)


def test_a_member_of_the_union_gets_its_mean_and_others_stay_unknown() -> None:
    germany, brazil = prices.load(region="DEU"), prices.load(region="BRA")
    assert germany.electricity is not None
    assert (germany.electricity.value, germany.electricity.unit) == (0.1902, "EUR")
    assert "mean of the European Union" in germany.electricity.source
    assert brazil.electricity is None
    assert brazil.grid is not None


@pytest.mark.parametrize("region", ["Atlantis", "", "germ"])
def test_unknown_region_is_one_sentence(region: str) -> None:
    with pytest.raises(ConfigError, match="--region"):
        prices.load(region=region)


def test_every_table_row_is_dated_and_sourced() -> None:
    for name in ("electricity.csv", "cloud.csv"):
        rows = prices.table(name)
        assert rows
        assert all(row["date"] and row["source"] for row in rows)
    assert len(prices.table("grid_intensity.csv")) == 214


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "p.yaml",
            "currency: EUR\nelectricity_per_kwh: 0.3\npue: 1.5\ngrid_g_co2e_per_kwh: 100\ngpu_per_hour: {NVIDIA L4: 0.8}\n",
        ),
        (
            "p.csv",
            "key,name,value,currency\nelectricity_per_kwh,,0.3,EUR\npue,,1.5,\n"
            "grid_g_co2e_per_kwh,,100,\ngpu_per_hour,NVIDIA L4,0.8,EUR\n",
        ),
    ],
)
def test_own_prices(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = prices.load(prices=tmp_path / name, region="DEU")
    assert found.electricity is not None
    assert (found.electricity.value, found.electricity.unit, found.pue.value) == (0.3, "EUR", 1.5)
    assert found.grid is not None
    assert found.grid.value == 100
    board = found.gpu_hour("NVIDIA L4")
    assert board is not None
    assert (board.value, board.unit) == (0.8, "EUR")
    assert found.gpu_hour("NVIDIA H200") is not None


@pytest.mark.parametrize(
    ("given", "board", "price"),
    [
        ("L4", "NVIDIA L4", 0.8),
        ("nvidia l4", "L4", 0.8),
        ("Instinct MI300X", "AMD Instinct MI300X", 0.8),
        ("H200", "NVIDIA H200", 0.8),  # instead of the table's
        ("AMD Instinct MI300X", "AMD Instinct MI300A", None),
        ("L4", "NVIDIA L40", None),
        ("H100", "NVIDIA H100 PCIe", 2.89),  # another board: the table's
        ("RTX 6000", "Quadro RTX 6000", None),
        ("NVIDIA", "L4", None),
        ("", "L4", None),
    ],
)
def test_a_board_is_known_with_and_without_its_makers_name(tmp_path: Path, given: str, board: str, price: float | None) -> None:
    (tmp_path / "p.yaml").write_text(f"gpu_per_hour: {{'{given}': 0.8}}\n")
    found = prices.load(prices=tmp_path / "p.yaml").gpu_hour(board)
    assert (found and found.value) == price


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("electricity: 1", "unknown key 'electricity'"),
        ("pue: 0.9", "at least 1"),
        ("electricity_per_kwh: cheap", "must be a number"),
        ("electricity_per_kwh: -1", "at least 0"),
        ("electricity_per_kwh: .nan", "must be a number"),
        ("gpu_per_hour: 3", "must map names"),
        ("- 1", "must map keys"),
        ("{", "not valid YAML"),
        ("pue: 2026-13-45", "not valid YAML .month must be in"),
        ("pue: " + 5000 * "9", "not valid YAML .Exceeds the limit"),
        ("pue: " + 400 * "9", "must be a number"),
        ("currency: 3\nelectricity_per_kwh: 1", "currency"),
    ],
)
def test_bad_prices_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as raised:
        prices.load(prices=tmp_path / "p.yaml")
    assert "\n" not in str(raised.value)


def test_missing_prices_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        prices.load(prices=tmp_path / "none.yaml")


@given(st.floats(1e-6, 1e9), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_break_even_is_where_the_costs_meet(one_off: float, baseline: float, tactic: float) -> None:
    found = break_even(one_off=one_off, baseline=baseline, tactic=tactic)
    if tactic >= baseline:
        assert found == "never"
        return
    assert isinstance(found, int)
    saving = baseline - tactic
    assert found * saving >= one_off * (1 - 1e-9)
    assert (found - 1) * saving <= one_off * (1 + 1e-9)


def test_break_even_of_what_is_unknown_or_free() -> None:
    assert break_even(one_off=None, baseline=2, tactic=1) == "unknown"
    assert break_even(one_off=None, baseline=1, tactic=2) == "never"
    assert break_even(one_off=5, baseline=None, tactic=1) == "unknown"
    assert break_even(one_off=0, baseline=2, tactic=1) == "at once"


def test_training_energy_is_unknown_when_an_epoch_is(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.train("vit-tiny", family="vit", epochs_j=[10.0, 12.0])
    sweep.train("resnet-tiny", family="resnet", epochs_j=[10.0, None])
    resnet, vit = analyse(sweep.finish()).training
    assert (vit.energy_j, vit.epoch_energy_j, vit.epoch_time_s) == (22, 11, 2)
    assert resnet.energy_j is None
    assert vit.settings == "epochs 2, learning rate 0.001, schedule one-cycle"


def test_empty_store_and_no_store(tmp_path: Path) -> None:
    write_manifest(open_store(tmp_path / "out"), sweep="quick", manifest=manifest("quick"))
    analysis = analyse(tmp_path / "out")
    assert analysis.headline == []
    assert best_tactics(analysis).rows == ()
    with pytest.raises(StoreError):
        analyse(tmp_path / "nothing")


def test_the_table_of_best_tactics_has_a_row_for_each_model(quick: Path) -> None:
    table = best_tactics(analyse(quick))
    assert len(table.rows) == len(MODELS)
    assert {row[1] for row in table.rows} == {"dynamic-quantization"}
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_analysis_is_the_same_twice(quick: Path) -> None:
    assert analyse(quick) == analyse(quick)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_numbers_say_what_they_are(value: float) -> None:
    text = wording.number(value)
    if abs(value) >= 1e-4:
        assert float(text.replace(",", "")) == pytest.approx(value, rel=0.006)
    assert wording.number(None) == "unknown"
    assert wording.number(math.nan) == "unknown"


@given(st.integers(0, 10**12))
def test_rounded_counts_are_never_too_early(value: int) -> None:
    rounded = int(wording.round_count(value).replace(",", ""))
    assert value <= rounded <= value * 1.11 + 1
