"""Merges the deltas of all agents, and answers queries about the merged measurements."""
