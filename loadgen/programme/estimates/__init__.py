"""Estimated counts: the errors that a source states, and sentences about intervals and what would settle them."""
