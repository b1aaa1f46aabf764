"""Forecasts from past values of a week: a robust trend with its range."""
