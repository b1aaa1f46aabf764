"""How many machines a fleet has: up, down, limits, leftovers."""
