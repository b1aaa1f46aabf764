"""Probes read metrics of the target's side during a run, on the run's clock, and keep them in the run folder."""
