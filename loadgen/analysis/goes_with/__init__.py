"""What goes together with an objective: series of the target that move with it, beyond what the load explains."""
