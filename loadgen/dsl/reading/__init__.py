"""From a scenario's files to its plans, or to all their faults: read without running, then run by statement."""
