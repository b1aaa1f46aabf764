"""Beside the faulty scenarios; nothing is wrong with it."""


def log_in() -> None: ...
