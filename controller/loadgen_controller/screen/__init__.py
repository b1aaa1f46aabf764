"""Output on a terminal: the figures and live view of a running run, and reports as text."""
