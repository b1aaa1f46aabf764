"""Prepares a run: parses the options, loads the scenario, forecasts its needs and checks that it is allowed."""
