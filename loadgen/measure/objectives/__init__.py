"""Objectives, and whether they were met."""
