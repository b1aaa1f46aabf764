"""Intervals of percentiles, and where the warm-up ended."""
