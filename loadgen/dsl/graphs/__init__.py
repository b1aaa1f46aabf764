"""Graphs of journeys: their definition, their checks, and the sessions that walk along them."""
