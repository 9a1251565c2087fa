"""What is set before a cell begins."""

import pytest
import torch
import torch._inductor.config as inductor
from torch._inductor.async_compile import get_compile_threads

from greenray.cell import runtime


def test_the_compiler_starts_as_many_workers_as_the_cell_has_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was imported before: by the server that the cell is forked from."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(inductor, "compile_threads", 32)
    try:
        runtime.configure(device="cpu", threads=3, seed=0)
        assert get_compile_threads() == 3
    finally:
        torch.set_num_threads(threads)
