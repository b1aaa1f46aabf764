"""What `loadgen compare` does once its options are read."""
