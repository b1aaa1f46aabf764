"""The contents of `metrics.json`: what page, report and terminal show of the target's side."""
