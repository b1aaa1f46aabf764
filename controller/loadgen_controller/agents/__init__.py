"""The agents that may connect, those that are connected, and the processes started on this machine."""
