"""How many examples a property test tries."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["ALL", "examples"]

ALL = 100
"""Examples of a test without a number of its own, with the profile `thorough`: hypothesis' default."""


def examples(number: int) -> int:
    """Return the number of examples to try: `number` with the profile `thorough` (`make slow`), otherwise a quarter.

    Each run draws new examples, so what a day of runs tries is more than one thorough run.
    """
    return number if settings().max_examples >= ALL else max(number // 4, 5)
