"""Beside the faulty scenarios: fails when it is called."""


def first_of(values: list[str]) -> str:
    return values[0]
