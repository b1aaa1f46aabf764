"""Stores accepted runs: in a folder or a bucket."""
