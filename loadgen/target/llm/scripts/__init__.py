"""Scripts: exact streams from a file or ready-made, with each write, its time, and its faults."""
