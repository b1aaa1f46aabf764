"""Objectives, their evaluation over runs and windows, and the observations of steering executors."""
