"""The check's shortest form on a real board, where there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu_check.check import find_gpu
from tests.gpu_check.load import ROOT

pytestmark = pytest.mark.gpu


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sections", ["1,6", "2,3", "4", "5"])
def test_the_instrument_on_a_real_board(sections: str, tmp_path: Path) -> None:
    _, why = find_gpu()
    if why is not None:
        pytest.skip(f"there is no GPU that torch can use ({why})")
    arguments = ["--sections", sections, "--scale", "0.1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu_check.check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    page = (tmp_path / "gpu-check.md").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr + page
