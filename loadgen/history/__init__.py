"""Runs that were accepted as what others are compared with: what is kept of each, and where."""
