"""What was measured: histograms, series, deltas, their merge, objectives, the run folder."""
