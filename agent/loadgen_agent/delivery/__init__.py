"""Keeps what an agent measured until the controller has stored it: in memory, then on disk."""
