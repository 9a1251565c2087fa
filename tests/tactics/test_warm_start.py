"""A warm start of `compile` takes the vector units that the cold one found, and no others."""

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenray.tactics import compile as tactic

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only there inductor tries the units")


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The units that inductor tries, each of which is found to be usable; caches of this process are as they were afterwards."""
    from torch._inductor import cpu_vec_isa

    names: list[str] = []

    def check_build(self: cpu_vec_isa.VecISA, code: str) -> bool:
        names.append(str(self))
        return True

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cpu_vec_isa.VecISA, "check_build", check_build)
    forget()
    yield names
    forget()


def forget() -> None:
    """As in a fresh process."""
    from torch._inductor import cpu_vec_isa

    cpu_vec_isa.valid_vec_isa_list.cache_clear()
    cpu_vec_isa.VecISA._VecISA__bool__impl.cache_clear()


def units() -> list[str]:
    from torch._inductor import cpu_vec_isa

    return [str(unit) for unit in cpu_vec_isa.valid_vec_isa_list()]


def test_the_units_of_the_cold_start_are_taken_without_a_try(tried: list[str], tmp_path: Path) -> None:
    tactic._recall_vector_units()  # cold: nothing is known
    tactic._note_vector_units()
    cold = units()
    assert json.loads((tmp_path / "greenray-vector-units.json").read_text()) == cold
    if not cold:
        pytest.skip("this processor has no vector units that inductor knows")
    assert tried
    tried.clear()
    forget()
    tactic._recall_vector_units()
    assert units() == cold
    assert tried == []


def test_where_fewer_were_usable_they_are_tried_again(tried: list[str], tmp_path: Path) -> None:
    (tmp_path / "greenray-vector-units.json").write_text("[]")  # the toolchain could build none, though the processor has some
    if not units():
        pytest.skip("this processor has no vector units that inductor knows")
    forget()
    tried.clear()
    tactic._recall_vector_units()
    assert tried == []
    units()
    assert tried
