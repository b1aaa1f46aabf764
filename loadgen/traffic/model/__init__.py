"""Counts of what sessions do: kinds of sessions, successors, pauses."""
