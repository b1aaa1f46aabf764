"""Compares two releases, name by name."""
