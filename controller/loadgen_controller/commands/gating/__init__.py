"""The work of `loadgen gate` after its options are read."""
