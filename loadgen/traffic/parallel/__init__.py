"""Parses inputs, in this process or in several."""
