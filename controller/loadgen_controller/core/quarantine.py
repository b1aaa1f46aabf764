"""Agents that send too much nonsense are not listened to for a while.

One bad message is a bug or an accident, and is counted. An agent that sends ten
within a minute is broken or hostile: until the quarantine is over not one of its
messages is even decoded. A message beyond a limit (`loadgen/measure/deltas/limits.py`) is no
accident, since a sound agent stays below all limits: one is enough. The clock is handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from loadgen.units import NS_PER_S

__all__ = ["BAD_MESSAGES", "QUARANTINE_NS", "WITHIN_NS", "Quarantine"]

BAD_MESSAGES = 10
WITHIN_NS = 60 * NS_PER_S
QUARANTINE_NS = 60 * NS_PER_S
_MAX_KNOWN = 10_000
"""Agents of which bad messages are remembered: a key of a group can make up names without end."""


class Quarantine:
    """Who is in it, and who is on the way."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._bad: dict[str, deque[int]] = {}
        """When each agent's last bad messages came, oldest first."""
        self._until_ns: dict[str, int] = {}

    def bad(self, agent: str) -> bool:
        """A bad message came; whether it was one too many, so that the quarantine begins."""
        now_ns = self._clock()
        if agent not in self._bad and len(self._bad) >= _MAX_KNOWN:
            del self._bad[next(iter(self._bad))]
        times = self._bad.setdefault(agent, deque(maxlen=BAD_MESSAGES))
        times.append(now_ns)
        if len(times) < BAD_MESSAGES or now_ns - times[0] > WITHIN_NS:
            return False
        self.begin(agent)
        return True

    def begin(self, agent: str) -> None:
        """The agent is in quarantine from now on."""
        now_ns = self._clock()
        self._bad.pop(agent, None)
        self._until_ns = {other: until for other, until in self._until_ns.items() if until > now_ns}
        self._until_ns[agent] = now_ns + QUARANTINE_NS

    def holds(self, agent: str) -> bool:
        until_ns = self._until_ns.get(agent)
        return until_ns is not None and self._clock() < until_ns
