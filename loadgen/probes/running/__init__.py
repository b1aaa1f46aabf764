"""Reads the probes of a run, each in a task of one thread: HTTP within limits, periods, gaps, and the journal."""
