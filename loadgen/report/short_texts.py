"""Shortens texts that do not fit: names of requests differ at both ends, so the middle is left out."""

from __future__ import annotations

__all__ = ["cut_in_middle"]


def cut_in_middle(text: str, most: int) -> str:
    """Return the text with at most this number of characters, at least 1, with an ellipsis in the middle."""
    if len(text) <= most:
        return text
    kept = most - 1
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"
