"""The API of a controller that stays: what is said, who may say it, both ends of it, and what commands make of it."""
