"""Runs of our own against the promises of production: their good share, as a sample, with its interval."""
