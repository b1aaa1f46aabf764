"""After a run: its figures into words and tables. Reads `summary.json`, computes no statistics."""
