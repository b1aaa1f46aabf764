"""The agent: a supervisor that talks to the controller, and workers that drive the load."""
