"""What `loadgen gate` does once its options are read."""
