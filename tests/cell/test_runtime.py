"""What is set before a cell begins."""

from pathlib import Path

import pytest
import torch
import torch._inductor.config as inductor
from torch._inductor.async_compile import get_compile_threads

from greenray.cell import runtime
from greenray.worker.attempt import cell_environment


@pytest.mark.parametrize(("of_cell", "workers"), [(3, 3), (63, 32)])
def test_the_compiler_starts_as_many_workers_as_the_cell_has_threads_within_its_own_bound(of_cell: int, workers: int) -> None:
    """Also where it was imported before: by the server that the cell is forked from."""
    environment = cell_environment(None, threads=of_cell, caches=Path("caches"))
    assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == str(workers)
    threads = torch.get_num_threads()
    try:
        with inductor.patch(compile_threads=17):
            runtime.configure(device="cpu", threads=of_cell, seed=0)
            assert get_compile_threads() == workers
    finally:
        torch.set_num_threads(threads)
