"""Changes of production from week to week, by matching hours, with intervals. Pure."""
