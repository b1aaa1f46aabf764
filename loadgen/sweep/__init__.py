"""Sweeps: runs of a plan at chosen levels of several factors, and which of them matter, alone and together."""
