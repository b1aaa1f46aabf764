"""Counts of times, and percentiles of them."""
