"""The drawings of a sweep: cells as a table with shades of grey, interactions as lines, effects as dots in order."""
