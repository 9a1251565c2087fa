"""What runs in a cell's own process. No Ray, no NVML, no Parquet."""
