"""Who else is on the board: by pid, by memory, or unknown."""

import os

import pytest

from greenray.gpu.base import foreign_processes


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ({"pids": [1, 2], "ours": {2}, "uses_gpu": True}, 1),
        ({"pids": [2], "ours": {2}, "uses_gpu": True}, 0),
        ({"pids": [1], "ours": {2}, "uses_gpu": False}, 1),
        ({"pids": [], "ours": {2}, "uses_gpu": False}, 0),
        ({"pids": [7, 8], "ours": {2}, "uses_gpu": True, "exists": lambda pid: False}, 1),
        ({"pids": None, "ours": {2}, "uses_gpu": True}, None),
        ({"pids": [], "ours": {2}, "uses_gpu": True, "memory_before_bytes": 1 << 30, "memory_level_bytes": 0}, 1),
        ({"pids": [], "ours": {2}, "uses_gpu": True, "memory_before_bytes": 100, "memory_level_bytes": 0}, 0),
    ],
)
def test_foreign_processes(case, count):
    arguments = {"memory_before_bytes": None, "memory_level_bytes": None, **case}
    assert foreign_processes(**arguments) == count


def test_a_list_of_live_strangers_says_nothing_about_the_cell():
    nothing = {"memory_before_bytes": None, "memory_level_bytes": None}
    assert foreign_processes(pids=[os.getpid()], ours=set(), uses_gpu=True, **nothing) is None
