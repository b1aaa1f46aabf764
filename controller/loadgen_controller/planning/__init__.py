"""Before a run: what the command line says, what the scenario is, what it will need, and whether it may."""
