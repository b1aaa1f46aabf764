"""The worker's side of an agent: one process that drives one share of a plan."""
