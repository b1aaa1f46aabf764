"""The supervisor's side of an agent: its state machine, its workers' processes, its link to the controller."""
