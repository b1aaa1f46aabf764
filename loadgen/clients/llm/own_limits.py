"""The limits of one request to an AI model: `await user.llm.chat(..., slo={"ttft": "1s", "tpot": "80ms"})`.

They replace the limits of the plan's goodput objectives for this request. Names and values are those of `goodput(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from loadgen.engine.recording.stream_series import Goodput
from loadgen.errors import UsageError
from loadgen.measure.objectives.terms import GOODPUT_LIMITS, limits_text
from loadgen.units import parse_duration

__all__ = ["NOT_USED", "read_own_limits"]

NOT_USED: Final = (
    "slo= of requests has no effect: it replaces the limits of goodput(...) objectives, and the plan has none"
)
_EXAMPLE: Final = 'write slo={"ttft": "1s", "tpot": "80ms"}'
_MOST_CACHED: Final = 256
_CACHE: Final[dict[tuple[tuple[object, object], ...], Goodput]] = {}
"""By the items as given. To parse two durations takes 10 µs, and most scenarios have few classes of requests."""


def read_own_limits(given: object) -> Goodput | None:
    """Return the limits of a request as given in its call; None for None.

    Raises:
        UsageError: names all unknown limits and invalid values, or says that there is no limit.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise UsageError(f"slo={given!r}: limits must be a dict", hint=_EXAMPLE)
    items = tuple(given.items())
    try:
        found = _CACHE.get(items)
    except TypeError:  # a value is a list or a dict, and `_read` names it
        found = None
    if found is None:
        found = _read(dict(items))
        if len(_CACHE) < _MOST_CACHED:
            _CACHE[items] = found
    return found


def _read(given: Mapping[object, object]) -> Goodput:
    faults, hints, limits = [], [], {}
    for name, value in given.items():
        if name not in GOODPUT_LIMITS:
            near = get_close_matches(str(name), GOODPUT_LIMITS, 1)
            faults.append(f"unknown metric {name!r}")
            hints.append(f"did you mean {near[0]!r}?" if near else f"limit one of {', '.join(GOODPUT_LIMITS)}")
            continue
        try:
            limits[str(name)] = _limit_ns(value)
        except (ValueError, OverflowError) as error:
            why = "too large" if isinstance(error, OverflowError) else error
            faults.append(f"{name}: {value!r}: {why}")
            hints.append(_EXAMPLE)
    if not given:
        faults.append("no limit is given")
        hints.append(f"{_EXAMPLE}, or leave it out: the limits of goodput(...) then count")
    if faults:
        raise UsageError(f"slo={dict(given)!r}: {'; '.join(faults)}", hint="; ".join(dict.fromkeys(hints)))
    in_order = {name: limits[name] for name in GOODPUT_LIMITS if name in limits}
    return Goodput(limits_text(in_order.items()), in_order)


def _limit_ns(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("the limit must be a duration with its unit")
    if not (limit_ns := parse_duration(value)):
        raise ValueError("the limit must be above 0, since no time is below 0")
    return limit_ns
