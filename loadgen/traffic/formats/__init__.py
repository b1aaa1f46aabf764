"""The formats of access logs: each parses one line into `Fields`, and `detect` finds the format of a file."""
