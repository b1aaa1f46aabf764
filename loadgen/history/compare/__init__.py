"""Compares two releases, name by name: numbers, text, a JSON document and an HTML page."""
