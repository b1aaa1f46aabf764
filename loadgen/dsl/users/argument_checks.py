"""Checks the arguments of a user's methods, for two callers: the methods themselves, and the loader.

The loader passes arguments that a scenario writes literally, so a wrong one is found before a run, also in a
branch that no trial enters. Each function raises UsageError or ValueError with a message for the scenario's author.
"""

from __future__ import annotations

import inspect
import re
from typing import Final

from loadgen.dsl.distributions import Distribution
from loadgen.dsl.plans.per_load import PerLoad
from loadgen.dsl.prompts.prompt import Prompt
from loadgen.errors import UsageError
from loadgen.measure.deltas.rendezvous_counts import MAX_POINT_NAME
from loadgen.units import parse_duration

__all__ = [
    "check_check",
    "check_condition",
    "check_gathered",
    "check_name",
    "check_prompt",
    "check_setting",
    "check_until",
    "distribution_of",
    "duration_ns",
    "pace_ns",
    "poll_times_ns",
    "rendezvous_timeout_ns",
    "sse_limits",
    "think_range_ns",
]


def duration_ns(value: object, argument: str) -> int:
    """Return a duration in ns from a text ("500ms") or a number of seconds. argument: its name, for the message."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(
            f"{argument}: {value!r} is not a duration", hint='write durations as seconds, 2, or as text, "500ms"'
        )
    return parse_duration(value)


_RANGE: Final = re.compile(r"\s*(\d[\d.]*)\s*([a-zµ]*)\s*(?:-|–|\.\.|to|,)\s*(\d[\d.]*)\s*([a-zµ]*)\s*")


def _think_hint(low: object) -> str:
    """Return a hint for a range of think times in one argument: "1s-3s", (1, 3); "" for another value."""
    if isinstance(low, list | tuple):
        return f"write think({', '.join(map(repr, low))})" if len(low) == 2 else ""
    found = _RANGE.fullmatch(low) if isinstance(low, str) else None
    if found is None:
        return ""
    first, first_unit, last, last_unit = found.groups()
    if (first_unit or last_unit or "s") == (last_unit or "s") == "s":
        return f"write think({first}, {last})"
    return f'write think("{first}{first_unit or last_unit}", "{last}{last_unit}")'


def think_range_ns(low: object, high: object = None) -> tuple[int, int]:
    """Return the shortest and the longest think time in ns. Without `high`, both are the same."""
    try:
        low_ns = duration_ns(low, "think")
    except (UsageError, ValueError):
        if high is None and (hint := _think_hint(low)):
            raise UsageError(f"think({low!r}): a range has two arguments", hint=hint) from None
        raise
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
    if every_ns > timeout_ns:
        times = f"{_written(every)} is longer than the time-out, {_written(timeout)}"
        is_in_ms = isinstance(every, int) and every >= 10  # 500 is rather ms, as in other tools, than 8 minutes
        hint = f'write every="{every}ms"' if is_in_ms else "write a shorter every=, or a longer timeout="
        raise UsageError(f"every: {times}, so there is a single poll", hint=hint)
    return every_ns, timeout_ns


def _written(duration: object) -> str:
    """Return a duration as the scenario has it; a number with its unit."""
    return duration.strip() if isinstance(duration, str) else f"{duration} s"


def check_until(until: object) -> None:
    """Raise UsageError unless `until` of a poll is a function."""
    if not callable(until):
        raise UsageError(
            f"poll: until={until!r} is not a function of the result",
            hint='write until=lambda reply: reply.json()["state"] == "done"',
        )


def check_gathered(call: object) -> None:
    """Raise UsageError unless `call`, an argument of `user.gather`, can be awaited."""
    if inspect.isawaitable(call):
        return
    if callable(call):
        name = getattr(call, "__name__", type(call).__name__)
        is_lambda = name == "<lambda>"
        raise UsageError(
            f"gather: {'a lambda' if is_lambda else name} is a function, not a call",
            hint="call it: remove lambda:" if is_lambda else f"call it: write user.gather({name}(...), ...)",
        )
    if isinstance(call, list | tuple | set):
        raise UsageError(
            "gather takes calls, not a list of them", hint="write a star before the list: user.gather(*calls)"
        )
    raise UsageError(
        f"gather: {call!r} cannot be awaited",
        hint="remove the `await` within the parentheses: user.gather(user.http.get(...), ...)",
    )


def check_setting(setting: object) -> None:
    """Raise UsageError unless `setting` was made by `per_load`."""
    if not isinstance(setting, PerLoad):
        name = setting if isinstance(setting, str) and setting.isidentifier() else "depth"
        raise UsageError(
            f"user.setting({setting!r}) is not a setting of loads",
            hint=f'declare it, {name} = per_load("{name}", int, default=3), and write user.setting({name})',
        )


def check_check(name: object, ok: object) -> None:
    """Raise UsageError for arguments of `user.check`: a name that is not a text, or a condition that is always true."""
    if not isinstance(name, str):
        raise UsageError(
            f"check: the name must be a text, got {repr(name)[:60]}",
            hint='write user.check("status is 200", reply.status_code == 200)',
        )
    if callable(ok):
        check_condition(ok)


def check_condition(ok: object) -> None:
    """Raise UsageError if a condition is a function, class or method, which is always true.

    Objects that can be called and have a truth value of their own are accepted: BeautifulSoup has such objects.
    """
    kind = type(ok)
    if callable(ok) and not (hasattr(kind, "__bool__") or hasattr(kind, "__len__")):
        called = getattr(ok, "__name__", kind.__name__)
        raise UsageError(
            "check: the condition is a function, so it is always true",
            hint="remove lambda:" if called == "<lambda>" else f"call it: write {called}(...)",
        )


def sse_limits(upto: object, within: object) -> tuple[int | None, int | None]:
    """Return the most events of `user.sse`, and its longest time in ns; None for no limit.

    Raises UsageError unless they are above 0.
    """
    if upto is not None and (isinstance(upto, bool) or not isinstance(upto, int) or upto < 1):
        raise UsageError(f"sse: upto={upto!r} must be a whole number of at least 1", hint="write upto=50")
    within_ns = None if within is None else duration_ns(within, "within")
    if within_ns == 0:
        raise UsageError("sse: within must be above 0", hint='write within="30s"')
    return upto, within_ns


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


def check_prompt(prompt: object) -> None:
    """Raise UsageError if `prompt` was not made by `prompt` or `shared_prefix`."""
    if not isinstance(prompt, Prompt):
        raise UsageError(f"text_of: {prompt!r} is not a prompt", hint="write user.text_of(prompt(tokens=1024))")
