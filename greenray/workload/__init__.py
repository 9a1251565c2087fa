"""What runs in a cell's own process: a model, real data, marked windows. Knows nothing of Ray, NVML or Parquet."""
