"""Finds the ask that a message answers: by an id in both messages, or by their order. Pure.

A late answer must not be taken for the answer of the next ask. So an ask that was cancelled or timed out keeps its
place in the order, and the next message counts as its answer, however late. With ids, its id is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, Literal

from loadgen.clients.response.pick import Missing, finder
from loadgen.clients.ws_client.connection import Waiting
from loadgen.clients.ws_client.message import Message
from loadgen.errors import UsageError

__all__ = ["NEXT", "ById", "InOrder", "Key", "Matched", "key_of"]

NEXT: Final = "next"
_MOST_IDS: Final = 64
"""The number of ids of ended asks that a connection remembers."""
Key = Callable[[Message], Hashable]
Matched = Waiting | Literal["late", "doubled", "unmatched", "none"]
"""The ask that a message answers, or why it answers none. none: the message has no id."""


def key_of(reply_to: object, argument: str = "ask: reply_to") -> Key:
    """Return the function that takes the id, or another value, out of a message. argument: for the message of an error.

    Raises:
        UsageError: `reply_to` is neither a path nor a function.
    """
    if callable(reply_to):
        return reply_to
    path: Any = reply_to
    try:
        find: Any = finder(path)
    except ValueError as error:
        name = argument.rpartition(" ")[2]
        otherwise = ', or "next"' if name == "reply_to" else ""
        hint = f'write {name}="$.id", or a function of the message{otherwise}'
        raise UsageError(f"{argument}={reply_to!r} is not a path: {error}", hint=hint) from error

    def key(message: Message) -> Hashable:
        try:
            found = find(message)
        except Missing:
            return None
        return found[0] if found else None

    return key


class InOrder:
    """Asks whose answers come in their order."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: deque[Waiting] = deque()

    def ask(self, wait: Waiting) -> None:
        self._waits.append(wait)

    def match(self) -> Matched:
        """HOT. Return the ask that a message without a known id answers."""
        if not self._waits:
            return "none"
        wait = self._waits.popleft()
        return "late" if wait.future.done() else wait


class ById:
    """The asks that have one `reply_to=`, by their ids. key: returns the id of a message. reply_to: for errors."""

    __slots__ = ("_answered", "_key", "_left", "_reply_to", "_waits")

    def __init__(self, key: Key, reply_to: str | Key) -> None:
        self._key, self._reply_to = key, reply_to
        self._waits: dict[Hashable, Waiting] = {}
        self._answered: dict[Hashable, None] = {}
        self._left: dict[Hashable, None] = {}
        """The ids of asks that ended without an answer."""

    def id_of(self, message: Message) -> Hashable:
        """Return the id of a message that is about to be sent.

        Raises:
            UsageError: the message has no id, or another ask waits for the same id.
        """
        found = self._key(message)
        if found is None or not _is_hashable(found):
            where = f"at {self._reply_to}" if isinstance(self._reply_to, str) else f"(reply_to= returned {found!r})"
            raise UsageError(
                f"ask: {message!r} has no id {where}",
                hint='put a text or a number there, or write reply_to="next" if answers come in the order of the asks',
            )
        if found in self._waits and not self._waits[found].future.done():
            raise UsageError(f"ask: an earlier ask waits for the id {found!r}", hint="give each message its own id")
        return found

    def ask(self, wait: Waiting) -> None:
        self._left.pop(wait.key, None)
        self._answered.pop(wait.key, None)
        self._waits[wait.key] = wait

    def left(self, wait: Waiting) -> None:
        """Remember that an ask ended without an answer."""
        if self._waits.get(wait.key) is wait:
            del self._waits[wait.key]
            _remember(self._left, wait.key)

    def match(self, message: Message) -> Matched:
        """HOT. Return the ask that a received message answers.

        Raises:
            Exception: any exception that the function in `reply_to=` raises.
        """
        found = self._key(message)
        if found is None or not _is_hashable(found):
            return "none"
        wait = self._waits.pop(found, None)
        if wait is not None:
            if wait.future.done():  # it timed out in this turn of the loop
                return "late"
            _remember(self._answered, found)
            return wait
        if found in self._left:
            del self._left[found]
            return "late"
        return "doubled" if found in self._answered else "unmatched"


def _remember(ids: dict[Hashable, None], one: Hashable) -> None:
    ids[one] = None
    if len(ids) > _MOST_IDS:
        del ids[next(iter(ids))]


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
