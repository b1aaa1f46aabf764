"""The files of results: `summary.json` and `histograms.hlog`."""
