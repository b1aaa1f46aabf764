"""Ceilings: at which rate each resource of a target ends, from what probes read during runs, or from a CSV file."""
