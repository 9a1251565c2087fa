"""What the registry promises: every name can be built with defaults, lately and without torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from greenray.cli.app import app
from greenray.errors import ConfigError
from greenray.tactics.base import DEVICES
from greenray.tactics.registry import TACTICS, build, tactic_class


@pytest.mark.parametrize("name", TACTICS)
def test_every_tactic_describes_itself(name: str) -> None:
    cls = tactic_class(name)
    assert cls.name == name
    assert cls.summary.endswith(".")
    assert cls.devices
    assert set(cls.devices) <= set(DEVICES)
    assert build(name).params == cls.Params()


@pytest.mark.parametrize("name", TACTICS)
def test_every_tactic_has_a_test_and_says_where_it_comes_from(name: str) -> None:
    here = Path(__file__)
    others = (file.read_text() for file in here.parent.glob("test_*.py") if file != here)
    assert any(f'"{name}"' in text for text in others)
    if name not in ("baseline", "null-check"):  # which are nobody's idea
        assert tactic_class(name).source.startswith("https://")


def test_the_command_shows_where_each_comes_from() -> None:
    shown = CliRunner().invoke(app, ["tactics"], env={"COLUMNS": "500"}).output
    rows = re.split(r"^(?=\S)", shown, flags=re.MULTILINE)
    for name in TACTICS:
        (row,) = (row for row in rows if row.startswith(f"{name} "))
        cls = tactic_class(name)
        assert all(part in row for part in (", ".join(cls.devices), cls.summary, cls.needs, cls.source))


def test_unknown_name_says_what_is_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown tactic 'prune'.*prune-global, prune-gradual, prune-local"):
        tactic_class("prune")


@pytest.mark.parametrize(
    ("name", "params"),
    [("prune-global", {"amount": 1.5}), ("prune-local", {"amont": 0.5}), ("compile", {"mode": "fast"}), ("bf16", {"x": 1})],
)
def test_bad_parameters_are_refused(name: str, params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        build(name, params)


def test_parameters_are_frozen() -> None:
    params = build("prune-global").params
    with pytest.raises(ValidationError):
        params.amount = 0.9


def test_importing_tactics_and_checks_needs_no_torch() -> None:
    code = (
        "import sys; from greenray.tactics.registry import TACTICS, build; [build(name) for name in TACTICS]; "
        "from greenray.tasks.registry import TASKS, task_class; [task_class(name) for name in TASKS]; "
        "print(sorted(name for name in ('torch', 'transformers', 'datasets', 'ray') if name in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.strip() == "[]"
