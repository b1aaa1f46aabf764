"""Finds the inputs of `loadgen model`, opens and unpacks them, and splits them into lines."""
