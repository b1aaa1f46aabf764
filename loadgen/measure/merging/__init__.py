"""Adds the deltas of all agents, each exactly once."""
