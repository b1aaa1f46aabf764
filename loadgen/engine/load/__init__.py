"""Decides when iterations and users start, and which of them belong to this worker."""
