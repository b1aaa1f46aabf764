"""Capacity: how much a target serves at its objective, how that grows, and how many instances it takes."""
