"""A plan's connection policy: who keeps connections, and how many a worker has. `pool.py` carries it out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Connections"]

_MAX_SHARED: Final = 60_000
"""Limit of `shared:N`: about as many connections as a machine has ports for one address."""
_SHARED = re.compile(r"shared:(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Connections:
    """A plan's connection policy."""

    policy: Literal["kept", "fresh", "shared"] = "kept"
    """kept: a user slot keeps its connections, also from one user to the next. fresh: each iteration opens new ones.
    shared: all users of a worker share `limit` connections."""
    limit: int = 0
    """The most connections of one worker if the policy is "shared"; 0 for the other policies."""

    @classmethod
    def parse(cls, text: str) -> Connections:
        """Parse a connection policy, "kept", "fresh" or "shared:50", as users write it.

        Raises:
            ValueError: none of these, or a limit out of range.
        """
        if text == "kept":
            return cls("kept")
        if text == "fresh":
            return cls("fresh")
        found = _SHARED.fullmatch(text)
        if found is None:
            raise ValueError(f'must be "kept", "fresh" or "shared:50", got {text!r}')
        limit = int(found[1])
        if not 1 <= limit <= _MAX_SHARED:
            raise ValueError(f"a worker can share 1 to {_MAX_SHARED:,} connections, got {limit:,}")
        return cls("shared", limit)

    def __str__(self) -> str:
        return f"shared:{self.limit}" if self.policy == "shared" else self.policy
