"""When iterations and users start, and which of them are ours."""
