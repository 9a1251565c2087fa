"""Identity and expansion: ids are pinned, because a changed id silently measures everything again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.chains import BY_DEVICE
from greenray.config.load import build
from greenray.config.matrix import Asked, expand, rounds_asked
from greenray.config.spec import SweepConfig
from greenray.errors import ConfigError

TRAIN = {
    "name": "train",
    "phase": "training",
    "models": [{"architecture": "vit", "preset": "tiny"}, {"architecture": "resnet", "preset": "tiny"}],
    "datasets": ["digits"],
    "epochs": 15,
    "batch_sizes": [64],
}
SERVE: dict[str, Any] = {
    "name": "serve",
    "phase": "inference",
    "models": [{"from": "train"}],
    "datasets": ["digits"],
    "tactics": ["baseline", "dynamic-quantization", {"prune-global": {"amount": 0.5}}, ["bf16", "compile"]],
    "rounds": 1,
}


def config(*experiments: dict[str, Any], **changes: Any) -> SweepConfig:
    return build({"name": "t", "experiments": list(experiments), **changes})


def ids(swept: SweepConfig, *, device: str = "cpu") -> dict[str, str]:
    return {
        f"{cell.experiment} {cell.model.label} {cell.tactic_slug}": cell.cell_id
        for block in expand(swept, auto_device=device)
        for cell in block.cells
    }


def test_ids_are_what_they_were() -> None:
    assert ids(config(TRAIN, SERVE)) == GOLDEN


def test_bracket_ids_are_what_they_were_and_carry_the_visit() -> None:
    block = next(b for b in expand(config(TRAIN, SERVE), auto_device="cpu") if b.bracketed)
    brackets = [block.bracket(kind, visit=visit).cell_id for visit in (1, 2) for kind in ("open", "close")]
    assert brackets == GOLDEN_BRACKETS
    assert len(set(brackets)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"measure": {"window_s": 30, "in_flight": 2}},
        {"experiments": [{**TRAIN, "precision": "fp32", "gradient_accumulation": 1}, SERVE]},
        {"limits": {"max_attempts": 5}},
        {"host": {"exclusive_hosts": False}},
        {"folder": "/elsewhere"},
    ],
)
def test_ids_do_not_depend_on(change: dict[str, Any]) -> None:
    assert set(ids(build({"name": "t", "experiments": [TRAIN, SERVE], **change})).values()) == set(GOLDEN.values())


def test_ids_do_not_depend_on_names_and_order_of_experiments_and_tactics() -> None:
    renamed = {**SERVE, "name": "again", "models": [{"from": "learn"}], "tactics": SERVE["tactics"][::-1]}
    assert set(ids(config({**TRAIN, "name": "learn"}, renamed)).values()) == set(GOLDEN.values())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"experiments": [{**TRAIN, "epochs": 16}]},
        {"experiments": [{**TRAIN, "batch_sizes": [32]}]},
        {"experiments": [{**TRAIN, "precision": "bf16"}]},
        {"experiments": [{**TRAIN, "gradient_accumulation": 4}]},
    ],
)
def test_ids_depend_on_what_is_declared(change: dict[str, Any]) -> None:
    assert not set(ids(build({"name": "t", "experiments": [TRAIN], **change})).values()) & set(GOLDEN.values())


def test_the_cpu_arm_of_a_cpu_host_adds_nothing_and_that_of_a_gpu_box_does() -> None:
    arm = {**SERVE, "name": "serve-cpu", "devices": ["cpu"], "tactics": ["baseline", "dynamic-quantization"]}
    assert ids(config(TRAIN, SERVE, arm)) == ids(config(TRAIN, SERVE))
    assert len(ids(config(TRAIN, SERVE, arm), device="cuda")) == len(ids(config(TRAIN, SERVE), device="cuda")) + 2


def test_baseline_is_implied_and_training_has_no_brackets() -> None:
    blocks = expand(config(TRAIN, {**SERVE, "tactics": ["compile"]}), auto_device="cpu")
    assert [(block.bracketed, [cell.tactic_slug for cell in block.cells]) for block in blocks] == [
        (False, ["baseline"]),
        (False, ["baseline"]),
        (True, ["compile"]),
        (True, ["compile"]),
    ]
    assert [block.needs for block in blocks[2:]] == [block.cells[0].cell_id for block in blocks[:2]]


@pytest.mark.parametrize(
    ("change", "rounds"),
    [
        ({}, 5),  # where tactics are compared
        ({"tactics": ["baseline"]}, 1),
        ({"tactics": ["baseline"], "null_check": True}, 5),
        ({"rounds": 2}, 2),
        ({"rounds": {"min": 3, "max": 7}}, 7),  # as many as there may be
    ],
)
def test_rounds_repeat_every_cell_under_the_name_that_its_repetitions_share(change: dict[str, Any], rounds: int) -> None:
    serving = {name: value for name, value in SERVE.items() if name != "rounds"} | {"models": TRAIN["models"]}
    blocks = expand(config(serving | change), auto_device="cpu")
    assert len(blocks) == 2 * rounds
    assert sorted({cell.round for block in blocks for cell in block.cells}) == list(range(1, rounds + 1))
    repeated = {cell.repeated_id for block in blocks for cell in block.cells}
    assert len(repeated) == 2 * len(blocks[0].cells)
    brackets = {block.bracket("open", visit=visit).repeated_id for block in blocks for visit in (1, 2)}
    assert len(brackets) == 2
    assert brackets.isdisjoint(repeated) or change.get("tactics") == ["baseline"]


def test_of_experiments_that_declare_the_same_cells_whoever_asks_for_most_rounds_is_heard() -> None:
    models = {"models": TRAIN["models"]}
    few, most = (
        {**SERVE, **models, "name": name, "rounds": rounds} for name, rounds in (("few", {"min": 3, "max": 12}), ("most", 5))
    )
    for both in ([few, most], [most, few]):
        assert set(rounds_asked(config(*both), auto_device="cpu").values()) == {Asked(5, 12)}
        assert max(cell.round for block in expand(config(*both), auto_device="cpu") for cell in block.cells) == 12


def test_rounds_between_bounds_are_for_comparing() -> None:
    with pytest.raises(ConfigError, match="rounds between min and max are for comparing tactics; give a number"):
        config({**TRAIN, "rounds": {"min": 3, "max": 4}})


def test_a_null_check_is_a_cell_like_any_other_and_asked_for_once_or_for_all_that_compare() -> None:
    for swept in (config(TRAIN, {**SERVE, "null_check": True}), config(TRAIN, SERVE, null_check=True)):
        training, *_, serving = expand(swept, auto_device="cpu")
        assert [cell.tactic_slug for cell in training.cells] == ["baseline"]
        assert [cell.tactic_slug for cell in serving.cells][-1] == "null-check"
        assert serving.bracketed


def test_slugs_name_what_differs_from_the_defaults() -> None:
    block = next(b for b in expand(config(TRAIN, SERVE), auto_device="cpu") if b.bracketed)
    assert [cell.tactic_slug for cell in block.cells] == ["dynamic-quantization", "prune-global_amount-0.5", "bf16+compile"]
    assert set("".join(cell.tactic_slug for cell in block.cells)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-+._")


def test_two_trainings_of_one_model_get_labels_of_their_own() -> None:
    blocks = expand(config({**TRAIN, "learning_rates": [0.001, 0.01]}, SERVE), auto_device="cpu")
    labels = {cell.model.label for block in blocks if block.bracketed for cell in block.cells}
    assert len(labels) == 4


def test_checkpoints_of_other_data_are_an_error_and_not_an_empty_matrix() -> None:
    with pytest.raises(ConfigError, match="trained on none of its datasets"):
        expand(config(TRAIN, {**SERVE, "datasets": ["org/other"]}), auto_device="cpu")


def test_checkpoints_of_a_training_under_tactics_are_an_error_and_not_an_endless_wait() -> None:
    with pytest.raises(ConfigError, match="trains under tactics"):
        expand(config({**TRAIN, "tactics": ["baseline", "prune-local"]}, SERVE), auto_device="cpu")


def test_checkpoints_are_found_where_another_experiment_declared_the_same_training() -> None:
    again = {**TRAIN, "name": "train-cpu", "devices": ["cpu"]}
    assert ids(config(TRAIN, again, {**SERVE, "models": [{"from": "train-cpu"}]})) == GOLDEN


@given(visit=st.integers(1, 1000), seed=st.integers(0, 2**32 - 1))
def test_a_visits_order_is_a_permutation_that_depends_on_seed_and_visit_alone(visit: int, seed: int) -> None:
    block = next(b for b in expand(config(TRAIN, SERVE, seed=seed), auto_device="cpu") if b.bracketed)
    order = block.shuffled(block.cells, visit=visit)
    assert order == block.shuffled(reversed(block.cells), visit=visit)
    assert sorted(c.cell_id for c in order) == sorted(c.cell_id for c in block.cells)


def test_visits_differ_in_order() -> None:
    block = next(b for b in expand(config(TRAIN, SERVE), auto_device="cpu") if b.bracketed)
    assert len({tuple(c.cell_id for c in block.shuffled(block.cells, visit=visit)) for visit in range(1, 20)}) > 1


GOLDEN = {
    "train vit-tiny baseline": "c1-50332fddbc657604",
    "train resnet-tiny baseline": "c1-8862bf87168d8436",
    "serve vit-tiny dynamic-quantization": "c1-95bc30e881ebac6d",
    "serve vit-tiny prune-global_amount-0.5": "c1-2c458303bbe9d185",
    "serve vit-tiny bf16+compile": "c1-d4ab842e70a1f752",
    "serve resnet-tiny dynamic-quantization": "c1-0d584c982fe11176",
    "serve resnet-tiny prune-global_amount-0.5": "c1-6f441e5e605a8965",
    "serve resnet-tiny bf16+compile": "c1-35dcb2938340a016",
}
GOLDEN_BRACKETS = ["c1-dc39c1a83189c333", "c1-5f30f61a5ef8651a", "c1-fd59f74302dceee5", "c1-fe1ecc77a079c55e"]


def slugs(*tactics: Any, device: str) -> list[str]:
    blocks = expand(config({**SERVE, "models": ["o/m"], "tactics": list(tactics), "devices": [device]}), auto_device="cpu")
    return [cell.tactic_slug for block in blocks for cell in block.cells]


def test_the_default_tactics_are_those_of_the_device() -> None:
    papers = ["dynamic-quantization", "compile", "prune-local", "prune-global"]
    assert slugs("default", device="cpu") == papers
    assert slugs("default", device="cuda") == [*papers, "tf32", "bf16", "bf16+compile", "bf16+int8-dynamic+compile"]
    assert slugs("default", "compile", ["bf16", "prune-local"], device="cpu") == [*papers, "bf16+prune-local"]


def test_default_stands_for_the_whole_list() -> None:
    assert ids(config(TRAIN, {**SERVE, "tactics": "default"})) == ids(config(TRAIN, {**SERVE, "tactics": [*BY_DEVICE["cpu"]]}))
    (experiment,) = config({**SERVE, "models": ["o/m"], "tactics": "default", "rounds": {"min": 3, "max": 5}}).experiments
    assert experiment.compares
