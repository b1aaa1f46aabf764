"""The language of plans: loads, targets, objectives, settings."""
