"""Compares one run with the accepted runs of its history."""
