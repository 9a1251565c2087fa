"""The command line of the check, and the page that it writes."""

import os
import subprocess

import pytest

from tests.gpu_check import report
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.load import ROOT
from tests.gpu_check.sections import ORDER, SECTIONS
from tests.gpu_check.simulated import command


def test_the_parts_of_a_session_are_all_sections_once() -> None:
    assert sorted(ORDER) == sorted(SECTIONS)


@pytest.mark.parametrize("sections", ["0", "1,17", "two", ""])
def test_an_unknown_section_is_an_error(sections: str) -> None:
    done = subprocess.run(command("--sections", sections), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "invalid list of sections (1 to 16, as 1,2,5) value" in done.stderr


def make(*asked: str) -> str:
    """What make would run; by itself, for the tests may be run by another make."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "-n", "gpu-check", *asked]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=True).stdout


def test_make_runs_the_check() -> None:
    assert "-m tests.gpu_check.check --quick\n" in make("ARGS=--quick")


def test_make_runs_the_check_with_what_a_host_has() -> None:
    """Where nothing can be installed, nothing is."""
    shown = make("INSTALLED=1", "PYTHON=/usr/bin/their-python", "ARGS=--part 1")
    assert shown == "/usr/bin/their-python -m tests.gpu_check.check --part 1\n"


def test_the_page_says_what_was_not_reached_and_escapes_what_it_is_given() -> None:
    titles = {number: SECTIONS[number].title for number in (1, 2)}
    finding = Finding(
        verdict="off",
        summary="Too slow.",
        method="Looked.",
        tables=[Table(title="T", columns=["a", "b"], rows=[["x|y\nz", None], [0.123456, 7]])],
        notes=["A note."],
    )
    page = report.markdown(host={"board": "B|1"}, titles=titles, findings={1: finding})
    assert "- board: B\\|1" in page
    assert "| 1 | counter and instant power | **off** | Too slow. |" in page
    assert "| 2 | counter against integrated power | not reached | the time ran out, or the check was stopped |" in page
    assert "| x\\|y z | unknown |\n| 0.1235 | 7 |" in page
    assert "- A note." in page
    assert report.summary({1: finding, 2: finding}) == "2 off"
