"""The cells of a row of the weekly page, each with the evidence of its number."""
