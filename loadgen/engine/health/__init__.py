"""Checks whether the load generator itself was able to measure."""
