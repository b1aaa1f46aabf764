"""Rows of logs: one request in 32 bytes, and its line in the accounting."""
