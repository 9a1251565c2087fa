"""Sets of processors in words, and physical cores."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.processes.cores import as_text, of_text, physical


@given(st.sets(st.integers(0, 300)))
def test_a_set_in_words_is_the_set(cores: set[int]) -> None:
    assert set(of_text(as_text(cores))) == cores


@pytest.mark.parametrize(("cores", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 64, 66, 65, 9), "0-2,9,64-66")])
def test_the_words_are_the_kernels(cores: tuple[int, ...], text: str) -> None:
    assert as_text(cores) == text


def test_processors_of_one_core_stay_together(tmp_path: Path) -> None:
    for core in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{core % 4},{core % 4 + 4}\n")
    assert physical(range(8), root=tmp_path) == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert physical((1, 4, 5, 9), root=tmp_path) == [(1, 5), (4,), (9,)]  # a half that may be used; one that is not known
