"""What is kept: four Parquet tables, one file per table and attempt."""
