"""How many examples a property test tries."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["ALL", "examples"]

ALL = 100
"""Examples of a test without a number of its own, with the profile `thorough`: hypothesis' default."""


def examples(number: int) -> int:
    """Return how many examples a property test tries: `number` in `make slow`, otherwise a tenth of it, at least 5.

    `make slow` runs with the profile `thorough`. Each run draws new examples.
    """
    return number if settings().max_examples >= ALL else max(number // 10, 5)
