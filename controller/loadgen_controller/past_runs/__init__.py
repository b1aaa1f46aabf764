"""The folder of past runs: list, search, label, delete."""
