"""Joins the pieces of a body, because each piece costs 41 extra bytes and a target may send single bytes."""

from __future__ import annotations

from typing import Final

__all__ = ["MANY_PIECES", "join_tail"]

MANY_PIECES: Final = 1024


def join_tail(pieces: list[bytes], joined: int) -> int:
    """Join all items of `pieces` from index `joined` on into one, in place. Return the value of `joined` for the next
    call, so that each byte is copied once.
    """
    pieces[joined:] = [b"".join(pieces[joined:])]
    return joined + 1
