"""The work of `loadgen history` after its options are read."""
