"""Turns the arguments of a call into the bytes of a request."""
