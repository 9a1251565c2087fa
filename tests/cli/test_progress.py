"""The lines of a sweep: what a cell's figure is counted in is its task's."""

import io

import pytest
from rich.console import Console
from rich.live import Live as RichLive

from greenray.cli.progress import LiveWatcher, PlainWatcher
from greenray.config.settings import Limits
from greenray.driver.pool import Starting
from greenray.driver.progress import Snapshot, WorkerView, cell_label
from greenray.worker.assignment import Live
from tests.driver.pretend_pool import fresh, plan_of, result_of

BUSY = "python (pid 7) keeps 0.99 CPUs busy"


@pytest.mark.parametrize(("joules", "said"), [(0.0034, "  3.4 mJ/image"), (2.0, "  2 J/image"), (None, None)])
def test_a_line_counts_in_the_tasks_unit(joules: float | None, said: str | None) -> None:
    (block,) = plan_of(fresh("compile")).blocks
    text = io.StringIO()
    PlainWatcher(Console(file=text, width=200)).finished(block.cells[0], result_of(block.cells[0], j_per_sample=joules))
    assert (said in text.getvalue()) if said else ("J/" not in text.getvalue())


def seen(*waiting: str | None) -> Snapshot:
    """A sweep whose workers run a cell, or wait before it."""
    workers = (
        WorkerView(host=f"host-{number}", gpu=None, cell="vit-tiny compile", elapsed_s=3.0, live=Live(waiting=why))
        for number, why in enumerate(waiting)
    )
    return Snapshot(workers=tuple(workers), done=1, failed=0, total=9, eta_s=None)


def test_a_wait_is_one_line_where_there_is_no_terminal() -> None:
    text = io.StringIO()
    watcher = PlainWatcher(Console(file=text, width=200))
    for snapshot in (seen(None), seen(BUSY), seen("git (pid 8) keeps 0.50 CPUs busy"), seen(None), seen(None, BUSY)):
        watcher.update(snapshot)
    assert text.getvalue().splitlines() == [f"host-{number} waits for a quiet host: {BUSY}" for number in (0, 1)]


def test_a_wait_stands_in_the_live_table_in_place_of_the_time() -> None:
    text = io.StringIO()
    console = Console(file=text, width=200)
    live = RichLive(console=console, auto_refresh=False)
    LiveWatcher(live, limits=Limits()).update(seen(BUSY, None))
    console.print(live.get_renderable())
    first, second, *_ = text.getvalue().splitlines()
    assert f"vit-tiny compile  waits for a quiet host: {BUSY}" in first
    assert "vit-tiny compile  3 s" in second


def starting(**hosts: list[float]) -> list[Starting]:
    return [Starting(host=host, since_s=since_s) for host, times in hosts.items() for since_s in times]


def test_workers_that_take_long_to_start_are_said_now_and_then_where_there_is_no_terminal() -> None:
    text = io.StringIO()
    watcher = PlainWatcher(Console(file=text, width=200))
    for second in range(100):
        watcher.starting(starting(one=[second], two=[second, second] if second < 30 else []))
    watcher.starting([])
    for second in range(25):
        watcher.starting(starting(one=[second]))
    assert text.getvalue().splitlines() == [
        "waiting for 3 workers to start, 0:00:20 so far: one, two (2)",
        "waiting for 1 worker to start, 0:00:40 so far: one",
        "waiting for 1 worker to start, 0:01:20 so far: one",
        "waiting for 1 worker to start, 0:00:20 so far: one",
    ]


def test_a_terminal_shows_at_once_what_is_starting_before_the_first_cell_and_beside_running_ones() -> None:
    text = io.StringIO()
    console = Console(file=text, width=200)
    live = RichLive(console=console, auto_refresh=False)
    watcher = LiveWatcher(live, limits=Limits())

    def shown() -> str:
        text.truncate(0)
        console.print(live.get_renderable())
        return text.getvalue()

    watcher.starting(starting(one=[3.0, 1.0]))
    assert "waiting for 2 workers to start, 0:00:03 so far: one (2)" in shown()
    watcher.starting(starting(one=[9.0]))
    watcher.update(seen(None))
    page = shown()
    assert "vit-tiny compile  3 s" in page
    assert "waiting for 1 worker to start, 0:00:09 so far: one" in page
    watcher.starting([])
    watcher.update(seen(None))
    assert "to start" not in shown()


def test_training_under_a_tactic_is_named_with_it() -> None:
    training = fresh("compile", "prune-local", phase="training", epochs=1)
    (block,) = plan_of(training).blocks
    labels = [cell_label(cell) for cell in (block.bracket("open", visit=1), *block.cells)]
    assert [label.split(" cpu ")[0].split(" ", 1)[1] for label in labels] == [
        "training baseline (open)",
        "training compile",
        "training prune-local",
    ]
