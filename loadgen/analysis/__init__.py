"""After the run: does what was measured differ from what was measured before? On plain numpy arrays."""
