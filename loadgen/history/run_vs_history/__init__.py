"""Compares one run with its history: numbers, sentences, and a section of the report."""
