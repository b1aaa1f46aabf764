"""Checks how journeys use values: those of the language, rows and states, and the names of the scenario's own files."""
