"""The size of a fleet on AWS: bring it up, take it down, check limits, end leftovers."""
