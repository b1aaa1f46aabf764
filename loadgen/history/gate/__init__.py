"""Judges new runs against accepted runs."""
