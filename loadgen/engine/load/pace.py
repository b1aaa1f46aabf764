"""The cycles of users that keep a pace: one iteration in each cycle, however long it takes, and never a burst.

Cycles follow each other at a fixed distance. An iteration that overruns its cycle skips to the next
cycle that is still to come. `user.pace` in a journey and `.pace(...)` of a load both use `next_cycle`.

Pure. Times are ns from the load's beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.profiles.arrival_due_times import Timeline
from loadgen.profiles.profile import spans_of
from loadgen.profiles.stage import Stage

__all__ = ["Cycles", "Pace", "next_cycle"]


def next_cycle(due_ns: int, every_ns: int, now_ns: int) -> tuple[int, int]:
    """Return (beginning of the user's next cycle at or after `now_ns`, number of cycles that it skipped by being late).

    A cycle is one period of the pace. `due_ns` is the beginning of the current cycle, `every_ns` its length.
    """
    due_ns += every_ns
    late_ns = now_ns - due_ns
    if late_ns <= 0:
        return due_ns, 0
    skipped = -(-late_ns // every_ns)
    return due_ns + skipped * every_ns, skipped


class Cycles:
    """The cycles of all users of a closed load. They follow from the stages alone, so all agents compute the same ones.

    A user's cycles begin when it arrives. Users that arrive at the same moment are spread over the first cycle, in the
    order of their numbers: the k-th of m waits k·every/m. So a constant number of users starts iterations at a constant
    rate, users / every. Users that arrive along a ramp are spread by the ramp itself.

    Args:
        stages: the curve of the number of users.
        every_ns: the length of a cycle, above 0.
        is_spread: False: users that arrive at the same moment begin at the same moment.
    """

    __slots__ = ("_every_ns", "_is_spread", "_levels", "_stages")

    def __init__(self, stages: Sequence[Stage], every_ns: int, *, is_spread: bool = True) -> None:
        self._stages, self._every_ns, self._is_spread = stages, every_ns, is_spread
        self._levels = Timeline(stages)

    def first_ns(self, user: int, from_ns: int) -> int | None:
        """Return when the user's first cycle at or after `from_ns` begins; None if it has no more cycles.

        Times are in ns after the load's beginning. Cost: about 20 µs.
        """
        for start_ns, end_ns in spans_of(self._stages, user):
            if end_ns <= from_ns:
                continue
            begin_ns = start_ns + self._wait_ns(user, start_ns)
            cycles = -(-max(0, from_ns - begin_ns) // self._every_ns)
            if begin_ns + cycles * self._every_ns < end_ns:
                return begin_ns + cycles * self._every_ns
        return None

    def _wait_ns(self, user: int, start_ns: int) -> int:
        """Return how long a user that arrives at `start_ns` waits for its first cycle, in ns."""
        if not self._is_spread:
            return 0
        before, after = (-(-self._levels.value_at(t_ns) // 1) for t_ns in (start_ns - 1, start_ns))
        return int((user - before) * self._every_ns // max(1, after - before))


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of the users of one load, for `drive_users`."""

    every_ns: int
    first_ns: Callable[[int, int], int | None]
    """`Cycles.first_ns` of the current stages."""
    skipped: Callable[[int], None]
    """Called with the number of cycles that a user skipped."""
