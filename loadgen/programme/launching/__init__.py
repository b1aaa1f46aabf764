"""A launch: what it puts at stake, its page, and the template of its review."""
