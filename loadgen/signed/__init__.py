"""Signed runs: the signed statement, keys and signatures."""
