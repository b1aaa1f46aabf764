"""Feeds, the data rows of journeys, and the files that they are read from."""
