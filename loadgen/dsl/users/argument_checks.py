"""Checks the arguments of a user's methods, for two callers: the methods themselves, and the loader.

The loader passes arguments that a scenario writes literally, so a wrong one is found before a run, also in a
branch that no trial enters. Each function raises UsageError or ValueError with a message for the scenario's author.
"""

from __future__ import annotations

from loadgen.dsl.distributions import Distribution
from loadgen.errors import UsageError
from loadgen.measure.deltas.rendezvous_counts import MAX_POINT_NAME
from loadgen.units import parse_duration

__all__ = [
    "check_name",
    "distribution_of",
    "duration_ns",
    "pace_ns",
    "poll_times_ns",
    "rendezvous_timeout_ns",
    "think_range_ns",
]


def duration_ns(value: object, argument: str) -> int:
    """Return a duration in ns from a text ("500ms") or a number of seconds. argument: its name, for the message."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(
            f"{argument}: {value!r} is not a duration", hint='write durations as seconds, 2, or as text, "500ms"'
        )
    return parse_duration(value)


def think_range_ns(low: object, high: object = None) -> tuple[int, int]:
    """Return the shortest and the longest think time in ns. Without `high`, both are the same."""
    low_ns = duration_ns(low, "think")
    if high is None:
        return low_ns, low_ns
    high_ns = duration_ns(high, "think")
    if low_ns > high_ns:
        raise UsageError(
            f"think({low!r}, {high!r}): the first time must not be longer than the second",
            hint=f"write think({high!r}, {low!r})",
        )
    return low_ns, high_ns


def pace_ns(every: object) -> int:
    """Return the interval of `user.pace` in ns. Raises UsageError for an invalid one, and for 0."""
    every_ns = duration_ns(every, "pace")
    if not every_ns:
        raise UsageError(
            "pace(0): the interval must be above 0", hint='write the time between two starts: user.pace("10s")'
        )
    return every_ns


def poll_times_ns(every: object, timeout: object) -> tuple[int, int]:
    """Return the interval and the time-out of `user.poll` in ns.

    Raises UsageError for an invalid time, and for a time-out of 0. An interval of 0 polls without a pause.
    """
    every_ns, timeout_ns = duration_ns(every, "every"), duration_ns(timeout, "timeout")
    if not timeout_ns:
        raise UsageError("poll: timeout must be above 0", hint='write timeout="2m"')
    return every_ns, timeout_ns


def rendezvous_timeout_ns(name: object, users: object, timeout: object) -> int:
    """Check the arguments of a rendez-vous and return its time-out in ns, above 0."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_POINT_NAME:
        raise UsageError(
            f"rendezvous: invalid name {name!r}",
            hint=f'write a text of 1 to {MAX_POINT_NAME} characters: user.rendezvous("sale opens", ...)',
        )
    if not isinstance(users, int) or isinstance(users, bool) or users < 1:
        raise UsageError(
            f"rendezvous: users={users!r} must be a whole number of at least 1",
            hint="write the size of a group: users=100",
        )
    timeout_ns = duration_ns(timeout, "timeout")
    if not timeout_ns:
        raise UsageError("rendezvous: timeout must be above 0", hint='write timeout="30s"')
    return timeout_ns


def check_name(what: str, name: object) -> None:
    """Raise UsageError unless `name` is a text that can name a step, request, check or trait.

    what: the word that has the name, such as "step".
    """
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{what}: {name!r} is not a name", hint=f'write a text that is not empty: {what}("login")')


def distribution_of(word: str, of: object) -> Distribution:
    """Return `of`; raise UsageError if it is not a distribution. word: the method's name, for the message."""
    if not isinstance(of, Distribution):
        raise UsageError(
            f"{word} needs a distribution, got {of!r}", hint="write lognormal(0, .3), uniform(1, 3), fixed(2)"
        )
    return of
