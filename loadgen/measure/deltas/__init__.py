"""One agent's measurements of one interval: the values that travel and their checks."""
