"""From the bytes of a response to the values that a scenario reads."""
