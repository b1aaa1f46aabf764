"""The engine: drives iterations at their due times and records the results. HOT; see docs/way-of-one-request.md."""
