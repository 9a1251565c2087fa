"""What an error of a cell tells: whether memory was refused, and whether the device failed rather than the cell."""

import sys

# By the allocators of host and device, and by libraries that make their own requests: the CUDA runtime ("CUDA error: out of
# memory"), cuBLAS, cuDNN 8 and cuSOLVER (..._STATUS_ALLOC_FAILED), cuDNN 9 (..._HOST_ and ..._DEVICE_ALLOCATION_FAILED). Where
# NVML does not answer, torch's allocator trips over it on its way to tell that memory is out (pytorch issues 112377 and 185240).
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "_status_alloc_failed",
    "_allocation_failed",
    "nvml_success ==",
)
# As torch and Triton begin what the CUDA runtime, its driver and its libraries answer, ATen/cuda/Exceptions.h.
_DEVICE = ("cuda error", "cuda driver error", "cudnn error", "cudnn_status_", "cublas_status_", "triton error [cuda]")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or the device refused memory; torch and the libraries below it say so in several ways."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Whether the device or its driver answered with an error that is no lack of memory: whether it still works is to be seen.

    Whatever was made of that answer on the way up counts as well.
    """
    if is_out_of_memory(error):
        return False
    torch = sys.modules.get("torch")
    told: BaseException | None = error
    while told is not None:
        if torch is not None and isinstance(told, torch.AcceleratorError):
            return True
        if isinstance(told, RuntimeError) and any(phrase in str(told).lower() for phrase in _DEVICE):
            return True
        told = told.__cause__ or told.__context__
    return False
