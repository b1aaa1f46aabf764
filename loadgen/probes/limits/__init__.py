"""Limits on what probes read: their texts, the objectives of a plan on them, and the stop of a run by `stop_when`."""
