"""Hints for names that do not exist: the ones that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Final

__all__ = ["did_you_mean", "listed"]

_MEANT: Final = {
    "body": ("json", "content", "data"),
    "payload": ("json", "content", "data"),
    "query": ("params",),
    "redirects": ("follow_redirects",),
    "timeouts": ("timeout",),
    "catch_response": ("expect", "accept"),
    "interval": ("every",),
    **dict.fromkeys(("start", "start_time", "delay"), ("after",)),
}
"""Words of other tools -> words of loadgen with this meaning, whose spelling is not similar."""
_SHOWN: Final = 10
"""Most names that a hint lists."""


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """Return a hint for an unknown name: the ones of `there` with its meaning, the most similar one, or else a list.

    A list of more than 10 names begins with the most similar ones, and ends with the number of the others. Returns ""
    if `there` is empty.
    """
    known = list(there)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    meant = [one for one in _MEANT.get(name, ()) if one in known]
    if meant or close:
        shown = [f'"{one}"' for one in meant or close]
        return f"did you mean {', '.join(shown[:-1])}{' or ' if shown[1:] else ''}{shown[-1]}?"
    return f"use one of {listed(known, near=name)}" if known else ""


def listed(names: Sequence[str], near: str = "") -> str:
    """Return names in quotes as a list for a hint: `"a", "b"`, and for more than 10 `..., and 3 more`.

    near: what was written. If the list is cut, it begins with the names that are most similar to this text.
    """
    shown = list(names)
    if len(shown) > _SHOWN:
        shown.sort(key=lambda one: -SequenceMatcher(None, one, near).ratio())
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(f'"{one}"' for one in shown[:_SHOWN]) + more
