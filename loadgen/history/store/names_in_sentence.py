"""Formats lists of names for sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["listed"]

_SHOWN: Final = 5


def listed(names: Iterable[str]) -> str:
    """Return the first five names joined with commas, and how many more there are: "a, b, c, d, e and 3 more"."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
