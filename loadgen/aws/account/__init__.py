"""An AWS account: clients, names, files and locks of a fleet."""
