"""Why requests of a run were slow: chooses an objective, joins its requests with their traces, and shows the causes."""
