"""Decides which agents are in quarantine because they sent too many invalid messages.

One invalid message is a bug or an accident, and is only counted. An agent that sends
ten within a minute is broken or hostile: the controller does not even decode its
messages until the quarantine ends. A message beyond a limit
(`loadgen/measure/deltas/limits.py`) is never an accident, because a sound agent stays
below all limits. One such message starts the quarantine. The caller passes the clock.
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
"""The most agents whose invalid messages are remembered; a holder of a group key can invent any number of names."""


class Quarantine:
    """Counts invalid messages by agent, and holds the agents that are in quarantine."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._bad: dict[str, deque[int]] = {}
        """The arrival times of each agent's last invalid messages, oldest first."""
        self._until_ns: dict[str, int] = {}

    def bad(self, agent: str) -> bool:
        """Count an invalid message. Return True if the agent's quarantine begins with it."""
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
        """Put the agent into quarantine for `QUARANTINE_NS` from now on."""
        now_ns = self._clock()
        self._bad.pop(agent, None)
        self._until_ns = {other: until for other, until in self._until_ns.items() if until > now_ns}
        self._until_ns[agent] = now_ns + QUARANTINE_NS

    def holds(self, agent: str) -> bool:
        """Return whether the agent is in quarantine now."""
        until_ns = self._until_ns.get(agent)
        return until_ns is not None and self._clock() < until_ns
