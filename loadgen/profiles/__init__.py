"""Loads as values and arithmetic: how many users there are, what is due when, how that is changed. All of it pure."""
