"""What a run came to, as files: its summary and its histograms."""
