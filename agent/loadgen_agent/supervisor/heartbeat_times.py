"""Decides when an agent sends a heartbeat, and whether it sends it inside a delta (its measurements of one interval).

Under load an agent sends a delta each second, or less often to a controller that is busy and asks for longer intervals.
A heartbeat in the delta's envelope saves a message to the controller and its answer. If no delta is due, the agent
sends a heartbeat of its own: each second, and to a busy controller each 2 s.

Pure: the caller passes times, in ns of its monotonic clock. The reasons are in
`docs/decisions/149-heartbeats-within-deltas.md`.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_S

__all__ = ["BUSY_EVERY_NS", "EVERY_NS", "LATE_NS", "HeartbeatTimes"]

EVERY_NS: Final = 1 * NS_PER_S
"""Time between two heartbeats."""
BUSY_EVERY_NS: Final = 2 * NS_PER_S
"""The same while the controller asks for longer intervals: to answer a heartbeat costs it as much as half a delta."""
LATE_NS: Final = NS_PER_S // 2
"""A heartbeat waits this much longer for a delta that is late, as on a busy machine. So at most 2.5 s pass between two
heartbeats, and 2.55 s with the supervisor's ticks of 50 ms. An agent is suspected after 3 s."""
_TOO_SOON_NS: Final = EVERY_NS // 2
"""A delta takes a heartbeat along only if the last one is older, so repeated deltas do not carry one each."""


class HeartbeatTimes:
    """The times of one agent's heartbeats."""

    def __init__(self, now_ns: int) -> None:
        self.may_ride = False
        """Whether heartbeats may travel within deltas: older controllers do not read them there."""
        self._sent_ns = now_ns
        self._delta_due_ns = now_ns - NS_PER_S
        """When the next delta is due that may take a heartbeat along."""
        self._every_ns = EVERY_NS
        self._is_soon = False

    @property
    def due_ns(self) -> int:
        """When the agent must send a heartbeat of its own, unless a delta or another call changes it."""
        if self._is_soon:
            return 0
        own_ns = self._sent_ns + self._every_ns
        is_delta_near = abs(self._delta_due_ns - own_ns) <= LATE_NS
        return min(own_ns, self._delta_due_ns) + LATE_NS if is_delta_near else own_ns

    def is_due(self, now_ns: int) -> bool:
        """Return whether the agent must send a heartbeat of its own now."""
        return now_ns >= self.due_ns

    def rides(self, now_ns: int) -> bool:
        """Return whether a delta that is sent now takes a heartbeat along."""
        return self.may_ride and (self._is_soon or now_ns - self._sent_ns >= _TOO_SOON_NS)

    def soon(self) -> None:
        """Send the next heartbeat as soon as possible, because the agent's phase or its share has changed."""
        self._is_soon = True

    def sent(self, now_ns: int) -> None:
        """Record that a heartbeat is sent now."""
        self._sent_ns, self._is_soon = now_ns, False

    def delta_sent(self, now_ns: int, *, with_beat: bool, every_ns: int) -> None:
        """Record that a delta is sent now.

        with_beat: whether a heartbeat travels within it. every_ns: the interval of deltas that the controller has asked
        for; 0 if it has asked for none, which means each second.
        """
        if self.may_ride:
            self._every_ns = BUSY_EVERY_NS if every_ns > EVERY_NS else EVERY_NS
            self._delta_due_ns = now_ns + max(EVERY_NS, every_ns)
        if with_beat:
            self.sent(now_ns)
