"""Measurements: their values, their sums, and the results made of them."""
