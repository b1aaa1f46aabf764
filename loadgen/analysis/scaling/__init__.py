"""Automatic scaling, second by second: what a policy would have done with a curve of rates. Pure, in simulated time."""
