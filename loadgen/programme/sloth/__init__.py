"""Files of sloth: `prometheus/v1` is read and written, and its alert windows are read."""
