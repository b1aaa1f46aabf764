"""The values of charts: a run over time, in a bounded number of time slots."""
