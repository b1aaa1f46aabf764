"""The state of a run and its decisions, as pure functions: no clock, no files, no sockets."""
