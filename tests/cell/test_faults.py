"""What an error tells: memory that ran out, a device that failed, or the cell's own doing."""

import pytest
import torch

from greenray.cell import main as cell
from greenray.cell.faults import is_device_error, is_out_of_memory
from greenray.cell.protocol import Done
from greenray.errors import CellError

MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":830, please report a bug'),
]
DEVICE = [
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, ...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("Triton Error [CUDA]: device-side assert triggered"),
]
NEITHER = [
    RuntimeError("shapes do not match"),
    ValueError("CUDA error: said a model's own code"),
    CellError("CUDA error: in words of ours"),
    KeyError("out of memory"),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_memory_that_ran_out_is_no_fault_of_the_device(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_device_error(error)
    said = cell.last_word(error, Done())
    assert (said.status, said.device_error) == ("oom", False)


@pytest.mark.parametrize("error", DEVICE, ids=str)
def test_an_error_of_the_device_or_its_libraries_is_said_to_be_one(error: Exception) -> None:
    assert not is_out_of_memory(error)
    said = cell.last_word(error, Done())
    assert (said.status, said.device_error) == ("failed", True)


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_what_a_cell_says_of_itself_is_neither(error: Exception) -> None:
    assert not is_out_of_memory(error)
    said = cell.last_word(error, Done())
    assert (said.status, said.device_error) == ("failed", False)


def test_an_error_of_the_device_stays_one_in_other_words() -> None:
    try:
        try:
            raise DEVICE[0]
        except RuntimeError:
            raise CellError("the model cannot be loaded") from None
    except CellError as error:
        said = cell.last_word(error, Done())
    assert (said.error, said.device_error) == ("the model cannot be loaded", True)


def test_memory_that_torch_cannot_have_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert is_out_of_memory(caught.value)
