"""What one worker remembers of its requests to an AI model: which of them are cold.

A cold request pays for something that later ones do not. Its row has the tag `cold`, so that cold and warm requests do
not mix: "first" is the first request of this worker, "idle" the first after a time without any, and "connection" one
for which a connection was opened.
"""

from __future__ import annotations

from typing import Final, Protocol

from loadgen.units import NS_PER_S

__all__ = ["LlmWorker"]

_IDLE_NS: Final = 10 * NS_PER_S
"""A model that this worker did not ask for longer than this may have been unloaded, or its caches emptied."""


class Notes(Protocol):
    """Receives remarks for the operator; a `Recorder`."""

    def note(self, text: str) -> None: ...


class LlmWorker:
    """Requests of one worker to the plan's model."""

    __slots__ = ("_last_ns", "_noted", "_under_way")

    def __init__(self) -> None:
        self._last_ns = 0
        """When a request began or ended last; 0: none has begun."""
        self._under_way = 0
        self._noted: set[str] = set()

    def begun(self, now_ns: int) -> str:
        """Register that a request begins, and return why it is cold; "" if it is not, as far as is known now."""
        last_ns, self._last_ns = self._last_ns, now_ns
        was_idle = not self._under_way
        self._under_way += 1
        if not last_ns:
            return "first"
        return "idle" if was_idle and now_ns - last_ns > _IDLE_NS else ""

    def note_once(self, notes: Notes, text: str) -> None:
        """Add a remark for the operator, unless this worker has added it before."""
        if text not in self._noted:
            self._noted.add(text)
            notes.note(text)

    def ended(self, now_ns: int) -> None:
        """Register that a request has ended, also if it was cancelled."""
        self._last_ns = now_ns
        self._under_way -= 1
