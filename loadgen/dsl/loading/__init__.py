"""Loads scenario files and reports all their errors at once."""
