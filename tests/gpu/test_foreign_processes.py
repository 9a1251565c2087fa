"""Who else is on the board: by pid, by memory, or unknown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenray.gpu.base import EMPTY_BYTES, foreign_processes
from tests.simnvml import Board, environment
from tests.support import ROOT

CELL, NEIGHBOUR = 2, 9
HOST = {"ours": {CELL}, "uses_gpu": True, "held_bytes": None, "sees_all": True, "exists": lambda pid: True}
CONTAINER = {**HOST, "sees_all": False, "exists": lambda pid: pid == CELL}
CONTEXT = 500 << 20  # what a process holds at least


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ({"pids": [1, CELL]}, 1),
        ({"pids": [CELL]}, 0),
        ({"pids": [1], "uses_gpu": False}, 1),
        ({"pids": [], "uses_gpu": False}, 0),
        ({"pids": [1]}, None),  # live strangers, and where is the cell?
        ({"pids": None}, None),
        ({"pids": [], "held_bytes": EMPTY_BYTES + 1}, 1),
        ({"pids": [], "held_bytes": 5 << 20}, 0),
        ({"pids": [CELL], "held_bytes": CONTEXT}, 0),  # the list is of everybody: some driver keeps more than it calls reserved
    ],
)
def test_on_a_host_the_list_is_of_everybody(case, count):
    assert foreign_processes(**{**HOST, **case}) == count


@pytest.mark.parametrize(
    ("case", "count"),
    [
        # A driver that translates: the neighbour is not listed, only his memory is there.
        ({"pids": [CELL], "held_bytes": 5 << 20}, 0),
        ({"pids": [CELL], "held_bytes": CONTEXT}, 1),
        ({"pids": [CELL]}, None),
        ({"pids": [CELL, 3], "held_bytes": CONTEXT}, 1),  # one of the same container
        ({"pids": [], "uses_gpu": False, "held_bytes": CONTEXT}, 1),
        ({"pids": [], "uses_gpu": False, "held_bytes": 0}, 0),
        ({"pids": [], "uses_gpu": False}, None),
        # One that does not: all are listed, by pids of the host.
        ({"pids": [7001]}, 0),
        ({"pids": [7001, 7002]}, 1),
        ({"pids": [7001], "uses_gpu": False}, 1),
        # By numbers that happen to exist here too.
        ({"pids": [CELL], "ours": {5}}, None),
        ({"pids": None, "held_bytes": CONTEXT}, 1),
        ({"pids": None, "held_bytes": 0}, 0),
        ({"pids": None}, None),
    ],
)
def test_in_a_container_a_neighbour_is_found_by_his_memory(case, count):
    assert foreign_processes(**{**CONTAINER, **case}) == count


LOOK = """
import json, os
from greenray.gpu import registry
from greenray.gpu.base import foreign_processes
print(json.dumps([
    foreign_processes(pids=gpu.processes(), ours={os.getpid()}, uses_gpu=True, held_bytes=gpu.memory_held_bytes(), sees_all=False)
    for gpu in registry.gpus()
]))
"""


def test_drivers_of_each_kind_in_a_container(simnvml, python):
    """Boards with a neighbour, in three ways: he has no pid here, all pids are the host's, no memory is told beside that."""
    absent = next(pid for pid in range(4_000_000, 5_000_000) if not Path(f"/proc/{pid}").exists())
    both, beside = f"self:9,{absent}:9", {"memory_used": (512 << 20) + CONTEXT}
    boards = [
        Board(more={"processes": "self:9", "namespace": "own"}),
        Board(more={"processes": both, "namespace": "own", **beside}),
        Board(more={"processes": both, "namespace": "own", "no_memory_v2": 1, **beside}),
        Board(more={"processes": both, "namespace": "host", **beside}),
    ]
    assert python(LOOK, env=environment(simnvml, boards=boards)).strip() == "[0, 1, null, 1]"


WINDOW = """
import os, time
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
instrument = Instrument(accelerator="0", hz=50, cpu_model=CpuModel())
recording = instrument.record()
recording.follow(os.getpid())
start_s = time.monotonic()
time.sleep(0.1)
print(recording.read(start_s=start_s, end_s=time.monotonic(), device="cuda").row()["foreign_processes"])
recording.stop()
instrument.close()
"""


@pytest.mark.parametrize(("held", "foreign"), [(0, "0"), (CONTEXT, "1")])
def test_a_window_in_a_container_with_pids_of_its_own(simnvml, held, foreign):
    """The driver lists the cell alone, as it does there; a neighbour who was there from the start holds memory."""
    board = Board(more={"processes": "self:9", "namespace": "own", "memory_used": (512 << 20) + held})
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment(simnvml, boards=[board])}
    contained = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*contained, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("pids of one's own need privileges")
    run = subprocess.run(
        [*contained, sys.executable, "-c", WINDOW], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout.strip(), run.returncode) == (foreign, 0), run.stderr
