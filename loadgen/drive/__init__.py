"""Drives one share of a plan in this process."""
