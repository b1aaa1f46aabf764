"""HdrHistogram counts as numpy arrays: single histograms, and stores of many series."""
