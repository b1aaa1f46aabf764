"""Plans: loads, targets, objectives, settings."""
