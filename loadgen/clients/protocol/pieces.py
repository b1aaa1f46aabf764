"""The pieces of a body in few objects: a target may send a byte at a time, and each piece takes 41 bytes more."""

from __future__ import annotations

from typing import Final

__all__ = ["MANY_PIECES", "join_tail"]

MANY_PIECES: Final = 1024


def join_tail(pieces: list[bytes], joined: int) -> int:
    """Make one piece of all from `joined` on. Returns `joined` for the next call: each byte is copied once.

    Call it when there are MANY_PIECES more than `joined`.
    """
    pieces[joined:] = [b"".join(pieces[joined:])]
    return joined + 1
