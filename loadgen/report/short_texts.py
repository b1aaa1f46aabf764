"""Shortens texts that do not fit. Names of requests differ at both ends, so they lose their middle."""

from __future__ import annotations

__all__ = ["cut_at_end", "cut_in_middle"]


def cut_in_middle(text: str, most: int) -> str:
    """Return the text with at most this number of characters, at least 1, with an ellipsis in the middle."""
    if len(text) <= most:
        return text
    kept = most - 1
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def cut_at_end(text: str, most: int) -> str:
    """Return the text with at most this number of characters, at least 1, with an ellipsis at the end."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
