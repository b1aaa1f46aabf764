"""Graphs of journeys: what an author writes, what is wrong with it, and how a session walks."""
