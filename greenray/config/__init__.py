"""What is asked for: YAML to frozen data, settings, the matrix and the identity of its cells. No torch, no Ray, no NVML."""
