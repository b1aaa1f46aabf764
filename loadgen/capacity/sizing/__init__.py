"""Sizing: how many instances a peak needs, with the loss of a zone, the uncertainty of all inputs, and the cost."""
