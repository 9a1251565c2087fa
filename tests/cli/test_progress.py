"""The lines of a sweep: what a cell's figure is counted in is its task's."""

import io

import pytest
from rich.console import Console

from greenray.cli.progress import PlainWatcher
from tests.driver.pretend_pool import fresh, plan_of, result_of


@pytest.mark.parametrize(("joules", "said"), [(0.0034, "  3.4 mJ/image"), (2.0, "  2 J/image"), (None, None)])
def test_a_line_counts_in_the_tasks_unit(joules: float | None, said: str | None) -> None:
    (block,) = plan_of(fresh("compile")).blocks
    text = io.StringIO()
    PlainWatcher(Console(file=text, width=200)).finished(block.cells[0], result_of(block.cells[0], j_per_sample=joules))
    assert (said in text.getvalue()) if said else ("J/" not in text.getvalue())
