"""The shell of one run: it performs the effects of `core` and writes the run folder."""
