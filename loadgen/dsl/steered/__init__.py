"""The search or constant rate that the command line puts in place of a plan's load, and its objectives as text."""
