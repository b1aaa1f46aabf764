"""Clocks of the target's instances: calls between them, and bounds of the offset of two clocks."""
