"""Starts a run and waits for it: on this machine, on a fleet, or at a controller."""
