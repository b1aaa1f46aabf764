"""Decides when an agent sends a heartbeat, and whether it sends it inside a delta (its measurements of one interval).

Under load an agent sends a delta each second. A heartbeat in the delta's envelope saves a message to the controller and
its answer. An agent whose next delta is due later, or that has none, sends a heartbeat of its own.

Pure: the caller passes times, in ns of its monotonic clock. The reasons are in
`docs/decisions/149-heartbeats-within-deltas.md`.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_S

__all__ = ["EVERY_NS", "LATE_NS", "HeartbeatTimes"]

EVERY_NS: Final = 1 * NS_PER_S
"""Time between two heartbeats."""
LATE_NS: Final = 3 * NS_PER_S // 2
"""While deltas are sent, a heartbeat waits for the next one for this time after the last heartbeat. Deltas come each
second, and a little later on a busy machine. It must stay well below the 3 s after which an agent is suspected."""
_TOO_SOON_NS: Final = EVERY_NS // 2
"""A delta takes a heartbeat along only if the last one is older, so repeated deltas do not carry one each."""


class HeartbeatTimes:
    """The times of one agent's heartbeats."""

    def __init__(self, now_ns: int) -> None:
        self.may_ride = False
        """Whether heartbeats may travel within deltas: older controllers do not read them there."""
        self._sent_ns = now_ns
        self._delta_ns: int | None = None
        self._is_soon = False

    def is_due(self, now_ns: int) -> bool:
        """Return whether the agent must send a heartbeat of its own now."""
        waits = self.may_ride and self._delta_ns is not None and now_ns - self._delta_ns < LATE_NS
        return self._is_soon or now_ns - self._sent_ns >= (LATE_NS if waits else EVERY_NS)

    def rides(self, now_ns: int) -> bool:
        """Return whether a delta that is sent now takes a heartbeat along."""
        return self.may_ride and (self._is_soon or now_ns - self._sent_ns >= _TOO_SOON_NS)

    def soon(self) -> None:
        """Send the next heartbeat as soon as possible, because the agent's phase or its share has changed."""
        self._is_soon = True

    def sent(self, now_ns: int) -> None:
        """Record that a heartbeat is sent now."""
        self._sent_ns, self._is_soon = now_ns, False

    def delta_sent(self, now_ns: int, *, with_beat: bool) -> None:
        """Record that a delta is sent now. with_beat: whether a heartbeat travels within it."""
        self._delta_ns = now_ns
        if with_beat:
            self.sent(now_ns)
