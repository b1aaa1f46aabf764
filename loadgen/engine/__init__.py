"""The engine: drives iterations at their due times and records what happened. HOT; see docs/way-of-one-request.md."""
