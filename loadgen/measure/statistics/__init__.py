"""Statistics of a run that is over: confidence intervals, and the end of its warm-up."""
