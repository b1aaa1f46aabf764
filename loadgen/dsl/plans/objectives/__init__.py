"""Objectives of a plan: their values and limits, their files, and whether their windows have enough iterations."""
