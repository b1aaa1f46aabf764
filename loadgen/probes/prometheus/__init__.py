"""Reads a Prometheus server through its HTTP API: raw samples of selectors, and values of expressions."""
