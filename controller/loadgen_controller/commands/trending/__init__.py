"""What `loadgen history` does once its options are read."""
