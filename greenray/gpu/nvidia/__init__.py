"""NVIDIA's boards, through NVML."""
