"""loadgen: scenarios in typed async Python, exact global percentiles while the run is going on."""
