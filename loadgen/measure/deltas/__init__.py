"""One agent's measurements of one interval."""
