"""The API of `loadgen controller`, as generated from `proto/loadgen/api`."""
