"""Decides which message of a channel is sent when. No clock, no thread, no I/O; times are seconds of any clock.

Each kind of event sends at most one message a minute: the first event at once, later ones together when the minute is
over. A message that was not delivered is tried again, five times in all. Number and age of the waiting messages are
limited, so a channel that is down costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loadgen.notify.event import Event, EventKind

__all__ = ["EVERY_S", "TRIES", "WAITS_S", "Message", "Outbox", "Undelivered"]

EVERY_S: Final = 60.0
"""The shortest time between two messages of one kind."""
TRIES: Final = 5
WAITS_S: Final = (1.0, 5.0, 30.0, 120.0)
"""The waits between the tries."""
_HURRIED_S: Final = 2.0
"""The longest wait between tries while the program ends."""
_MOST_WAITING: Final = 50
_MOST_GATHERED: Final = 20


@dataclass(slots=True)
class Message:
    """One or more events of one kind. The id is the same for each try, so a receiver can recognise a repetition."""

    id: str
    events: tuple[Event, ...]
    left_out: int = 0
    """Number of further events, which the message only counts."""
    tries: int = 0
    due_s: float = 0.0

    @property
    def count(self) -> int:
        """Return the number of events, with those that are only counted."""
        return len(self.events) + self.left_out


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A message that will not be tried again."""

    message: Message
    why: str


@dataclass(slots=True)
class _Gathered:
    events: list[Event] = field(default_factory=list)
    left_out: int = 0


class Outbox:
    """The messages of one channel that wait. new_id: returns a fresh id."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._sent_s: dict[EventKind, float] = {}
        """When the last message of each kind was made."""
        self._gathered: dict[EventKind, _Gathered] = {}
        self._waiting: list[Message] = []
        self._is_hurried = False
        self.undelivered: list[Undelivered] = []
        """Messages that were given up, at most `_MOST_WAITING`."""

    def offer(self, event: Event, now_s: float) -> None:
        """Take in an event."""
        last_s = self._sent_s.get(event.kind)
        if event.kind not in self._gathered and (last_s is None or now_s - last_s >= EVERY_S):
            self._add((event,), 0, now_s)
            return
        gathered = self._gathered.setdefault(event.kind, _Gathered())
        if len(gathered.events) < _MOST_GATHERED:
            gathered.events.append(event)
        else:
            gathered.left_out += 1

    def due(self, now_s: float) -> Message | None:
        """Return the message to send now, or None. Afterwards call `delivered` or `failed` with it."""
        for kind, gathered in list(self._gathered.items()):
            if self._is_hurried or now_s - self._sent_s[kind] >= EVERY_S:
                del self._gathered[kind]
                self._add(tuple(gathered.events), gathered.left_out, now_s)
        return next((one for one in self._waiting if one.due_s <= now_s), None)

    def delivered(self, message: Message) -> None:
        """Forget a message that was delivered."""
        self._waiting.remove(message)

    def failed(self, message: Message, why: str, now_s: float, *, is_final: bool = False) -> None:
        """Plan the next try of a message, or give it up after the last one. is_final: no further try can help."""
        message.tries += 1
        if is_final or message.tries >= TRIES:
            self._give_up(message, why)
            return
        wait_s = WAITS_S[message.tries - 1]
        message.due_s = now_s + (min(wait_s, _HURRIED_S) if self._is_hurried else wait_s)

    def hurry(self, now_s: float) -> None:
        """Make all messages due soon, because the program ends.

        Events that wait for their minute are due at once, further tries after at most 2 s.
        """
        self._is_hurried = True
        for message in self._waiting:
            message.due_s = min(message.due_s, now_s + _HURRIED_S)

    def give_up(self, why: str) -> None:
        """Give up all messages that still wait."""
        for message in list(self._waiting):
            self._give_up(message, why)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits."""
        return not self._waiting and not self._gathered

    @property
    def wake_s(self) -> float | None:
        """Return when the next message is due; None if nothing waits."""
        times = [message.due_s for message in self._waiting]
        times += [0.0 if self._is_hurried else self._sent_s[kind] + EVERY_S for kind in self._gathered]
        return min(times, default=None)

    def _add(self, events: tuple[Event, ...], left_out: int, now_s: float) -> None:
        self._sent_s[events[0].kind] = now_s
        message = Message(self._new_id(), events, left_out, due_s=now_s)
        self._waiting.append(message)
        if len(self._waiting) > _MOST_WAITING:
            self._give_up(self._waiting[0], "too many messages wait")

    def _give_up(self, message: Message, why: str) -> None:
        self._waiting.remove(message)
        if len(self.undelivered) < _MOST_WAITING:
            self.undelivered.append(Undelivered(message, why))
