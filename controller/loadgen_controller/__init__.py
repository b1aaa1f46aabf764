"""The controller: takes agents in, conducts a run, judges it."""
