"""The report of a model as one HTML file, `report.html`: what a reader needs to accept or refuse it."""
