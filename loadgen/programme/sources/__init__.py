"""Sources of slices: Prometheus, CSV and Parquet files, and our own runs. Each has a pure part that parses answers."""
