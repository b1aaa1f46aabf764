"""What a scenario says: journeys, users, steps, data, load, plans, objectives; and the loader that reads it."""
