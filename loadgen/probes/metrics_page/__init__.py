"""Reads pages of metrics in the text format of Prometheus: fetching, parsing, and the rows that a probe shows."""
