"""Finds series of the target that move with an objective, beyond what the load explains."""
