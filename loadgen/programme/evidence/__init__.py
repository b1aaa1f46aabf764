"""Evidence: for each number of a page, its inputs, its formula, and the revisions that it was computed from."""
