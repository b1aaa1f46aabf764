"""Sources of traces: files, our own collector, and the tracing systems, one file for each."""
