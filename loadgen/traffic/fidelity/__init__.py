"""Measures how faithful simulated or recorded sessions are to those of a log."""
