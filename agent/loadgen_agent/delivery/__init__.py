"""Keeps an agent's measurements until the controller has stored them: in memory, then on disk."""
