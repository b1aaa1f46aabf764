"""The parts of a scenario: journeys, users, steps, data, loads, plans, objectives; and the loader of scenario files."""
