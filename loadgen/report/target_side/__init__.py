"""The target's side in reports: lanes, marks and databases of `metrics.json`."""
