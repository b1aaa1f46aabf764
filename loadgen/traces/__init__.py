"""Traces of the target: from spans of any format to the paths that made requests slow. Pure; no files, no sockets."""
