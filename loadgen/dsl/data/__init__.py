"""The rows that journeys run with: feeds, and the files that they are read from."""
