"""Finds the request to which an answer belongs. Pure: no sockets, no clock.

A match is a function that returns what a request and its answer have in common, from the bytes of either:
`first(2)` returns the first two bytes, which are the id of a DNS message.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Final, Generic, TypeVar

from loadgen.errors import UsageError

__all__ = ["MAX_GONE", "Match", "Waiting", "check_match", "first"]

Match = Callable[[bytes], Hashable]
X = TypeVar("X")
MAX_GONE: Final = 100
"""Most exchanges that gave up whose answers are still recognised as late; answers of earlier ones are unmatched."""


def first(size: int) -> Match:
    """Return a match by the first `size` bytes of a message: `first(2)` for DNS.

    Raises:
        UsageError: `size` is not a whole number of at least 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"first: size={size!r} must be a whole number of at least 1", hint="write first(2)")
    return _first(size)


@lru_cache(maxsize=64)  # the same function each time, so that a journey may write first(2) at each call
def _first(size: int) -> Match:
    return lambda message: message[:size]


def check_match(match: object) -> None:
    """Raise UsageError unless `match=` of an ask is a function or None."""
    if match is not None and not callable(match):
        raise UsageError(
            f"ask: match={match!r} is not a function", hint="write match=first(2), or a function of a message"
        )


class Waiting(Generic[X]):
    """The exchanges that wait for their answers, oldest first. X: an exchange.

    unreadable: the last exception of a match for a received message; None: no match has failed.
    """

    __slots__ = ("_exchanges", "_gone", "_number", "unreadable")

    def __init__(self) -> None:
        self._exchanges: dict[Match | None, dict[Hashable, list[X]]] = {}
        self._gone: dict[tuple[Match, Hashable, int], None] = {}
        """(match, key, number) of exchanges that gave up, oldest first."""
        self._number = 0
        self.unreadable: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self._exchanges)

    def add(self, exchange: X, match: Match | None, sent: bytes) -> Hashable:
        """Add an exchange, and return its key, which `give_up` needs. match None: the next message is the answer."""
        key = None if match is None else match(sent)
        self._exchanges.setdefault(match, {}).setdefault(key, []).append(exchange)
        return key

    def give_up(self, exchange: X, match: Match | None, key: Hashable) -> None:
        """Remove an exchange, whose answer is late from now on. Do nothing if it has its answer."""
        if self._drop(exchange, match, key) and match is not None:
            self._number += 1
            self._gone[match, key, self._number] = None
            if len(self._gone) > MAX_GONE:
                del self._gone[next(iter(self._gone))]

    def answered(self, message: bytes) -> tuple[X | None, bool]:
        """Return (the exchange that a message answers, or None; whether it answers one that gave up).

        A message that no match gives to an exchange goes to the oldest exchange without a match.
        """
        for match, by_key in self._exchanges.items():
            if match is not None and (found := by_key.get(key := self._key(match, message))):
                exchange = found[0]
                self._drop(exchange, match, key)
                return exchange, False
        for gone in self._gone:
            if self._key(gone[0], message) == gone[1]:
                del self._gone[gone]
                return None, True
        if None in self._exchanges:
            exchange = self._exchanges[None][None][0]
            self._drop(exchange, None, None)
            return exchange, False
        return None, False

    def take_all(self) -> list[X]:
        """Remove and return all exchanges, because the connection is gone."""
        found = [one for by_key in self._exchanges.values() for exchanges in by_key.values() for one in exchanges]
        self._exchanges.clear()
        return found

    def _key(self, match: Match, message: bytes) -> Hashable:
        try:
            key = match(message)
            hash(key)
            return key
        except Exception as error:  # noqa: BLE001  # the scenario's function, and bytes of any peer
            self.unreadable = error
            return _NO_KEY

    def _drop(self, exchange: X, match: Match | None, key: Hashable) -> bool:
        by_key = self._exchanges.get(match, {})
        found = by_key.get(key, [])
        if exchange not in found:
            return False
        found.remove(exchange)
        if not found:
            del by_key[key]
        if not by_key:
            del self._exchanges[match]
        return True


_NO_KEY: Final = object()
"""Equal to no key of a request."""
