"""Level changes over the runs of a history, and pages that show them."""
