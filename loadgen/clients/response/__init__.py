"""Turns the bytes of a response into the values that a scenario reads."""
