"""Readers of span formats, one file for each: bytes in, spans out."""
