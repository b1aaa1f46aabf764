"""Signed runs: what is signed, keys and signatures."""
