"""Notifications of this program: which channels are open, and the events of runs. Sending is in `loadgen.notify`."""
