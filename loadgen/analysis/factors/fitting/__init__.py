"""Fits a linear model to the runs of a sweep: columns of terms, errors, intervals and scales of responses."""
