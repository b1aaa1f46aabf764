"""Coverage of the programme: which journeys have an owner, tests, promises, a gate, a capacity; the house standard."""
