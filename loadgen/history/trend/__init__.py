"""Finds changes of level over the runs of a history, and renders pages that show them."""
