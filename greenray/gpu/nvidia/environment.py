"""How a process is shown one of NVIDIA's boards or none, and how its files look when it has opened one. Only names: no NVML."""

from collections.abc import Mapping

DEVICE_PREFIX = "/dev/nvidia"
"""How the paths of the boards' device files begin."""

PRELOAD_ENVIRONMENT: Mapping[str, str | None] = {
    "CUDA_VISIBLE_DEVICES": "",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # else torch.cuda.is_available() makes CUDA calls; torchao asks at import
}
"""What a process that will be forked must hold before its first import, so that none of its modules touches a board."""


def environment_for(uuid: str | None) -> dict[str, str]:
    """Environment of a process that sees exactly the board of this UUID, or none."""
    return {"CUDA_VISIBLE_DEVICES": uuid or "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
