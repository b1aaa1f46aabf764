"""Names of requests: paths, their parameters, and the values of these."""
