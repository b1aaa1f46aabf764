"""The live page: what a browser is shown of runs, and what may be asked of them there."""
