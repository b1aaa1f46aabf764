"""Counts the tokens that a plan will send and get, from the rows of its feeds that have columns of tokens."""

from __future__ import annotations

from typing import Any, Final

from loadgen.dsl.data.feed import Feed, open_feed

__all__ = ["tokens_of"]

_PROMPT: Final = ("input_length", "ContextTokens", "prompt_tokens", "input_tokens")
_ANSWER: Final = ("output_length", "GeneratedTokens", "completion_tokens", "output_tokens")
_MOST_READ: Final = 100_000
"""Rows that are read; more uses are estimated from these. Each takes 3 µs."""


def tokens_of(feed: Feed[Any], uses: int) -> tuple[int, int] | None:
    """Return the tokens of prompts and of answers in the rows of the first `uses` uses.

    Returns None if the rows have no columns of tokens with a name that traces use. From 100,000 uses on, the numbers
    are estimates.
    """
    rows = open_feed(feed)
    first = rows.row(0)
    names = [next((name for name in known if hasattr(first, name)), None) for known in (_PROMPT, _ANSWER)]
    read = min(uses, _MOST_READ)
    if None in names or not read:
        return None
    found = [rows.row(n) for n in range(read)]
    prompt, answer = (sum(_number(row, str(name)) for row in found) * uses // read for name in names)
    return prompt, answer


def _number(row: object, name: str) -> int:
    value = getattr(row, name, 0)
    return value if isinstance(value, int) else 0
