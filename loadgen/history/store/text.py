"""How names are said in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["listed"]

_SHOWN: Final = 5


def listed(names: Iterable[str]) -> str:
    """The first five, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
