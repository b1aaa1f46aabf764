"""Attainment of promises: what slices of good and total counts say about a window, and how sure that is. Pure."""
