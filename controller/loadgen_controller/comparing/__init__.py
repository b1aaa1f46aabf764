"""Runs and releases side by side: `loadgen compare`."""
