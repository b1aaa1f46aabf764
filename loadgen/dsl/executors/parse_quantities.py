"""Parses the amounts in loads: rates, durations, numbers of users, hours of the day.

Each function raises a ValueError with a message for the scenario's author. The caller
adds the line.
"""

from __future__ import annotations

import re
from math import isfinite

from loadgen.profiles.spacing import MAX_SHAPE, MIN_SHAPE
from loadgen.profiles.stage import MAX_RATE_PER_S, MAX_USERS
from loadgen.units import parse_duration, parse_rate

__all__ = ["count_of", "duration_of", "gamma_shape", "hour_of", "number_of", "rate_of", "seed_of"]


def rate_of(value: object, *, below_0: bool = False) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f'{value!r} is not a rate; write "200/s", "30/m" or "1000/h"')
    try:
        rate = parse_rate(value)
    except OverflowError:
        raise ValueError(f'a rate must be finite, got {value}; write "200/s"') from None
    if rate < 0 and not below_0:
        raise ValueError(f"a rate must not be negative, got {value}; write 0 or more")
    if abs(rate) > MAX_RATE_PER_S:
        raise ValueError(f"a rate must be at most {MAX_RATE_PER_S:g}/s, got {value}; lower it")
    return rate


def duration_of(value: object) -> int:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f'{value!r} is not a duration; write "500ms", "10s", "2m" or "1h"')
    try:
        return parse_duration(value)
    except OverflowError:
        raise ValueError(f'a duration must be finite, got {value}; write "10m"') from None


def count_of(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number of {what}; write a whole number")
    if value < 0:
        raise ValueError(f"the number of {what} must not be negative, got {value}; write 0 or more")
    most = MAX_USERS if what == "users" else 1 << 53
    if value > most:
        raise ValueError(f"the number of {what} must be at most {most:,}, got {value:,}; lower it")
    return value


def hour_of(value: object) -> float:
    """Return an hour of the day, 0 <= h < 24, from text ("20:30") or a number (20.5).

    Raises ValueError if the value is not an hour of the day.
    """
    hour = -1.0
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d{1,2}):([0-5]\d)\s*", value, re.ASCII)):
        hour = int(found[1]) + int(found[2]) / 60
    elif isinstance(value, int | float) and not isinstance(value, bool):
        hour = float(value) if isfinite(value) else -1.0
    if not 0 <= hour < 24:
        raise ValueError(f'{value!r} is not an hour of the day; write "20:30" or 20.5')
    return hour


def number_of(value: object, what: str) -> float:
    """Return the value as a finite number above 0.

    what: the argument's name, for the message of the ValueError that is raised otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what}: {value!r} is not a number above 0; write {what}=1")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not (isfinite(number) and number > 0):
        raise ValueError(f"{what}: {value} is not a number above 0; write {what}=1")
    return number


def seed_of(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"seed: {value!r} is not a whole number; write seed=7, or leave it out to use the run's seed")
    return value


def gamma_shape(cv: object, burstiness: object) -> float:
    """Return the shape parameter of the gamma distribution of spacings, from `cv` or `burstiness`.

    Raises ValueError if both or neither are given, or the value is invalid.
    """
    if (cv is None) == (burstiness is None):
        raise ValueError("gamma: give either cv= or burstiness=, as in gamma(cv=2.0)")
    if cv is None:
        given, shape = f"burstiness: {burstiness}", number_of(burstiness, "burstiness")
    else:
        given, shape = f"cv: {cv}", 1.0 / number_of(cv, "cv") / number_of(cv, "cv")
    if not MIN_SHAPE <= shape <= MAX_SHAPE:
        raise ValueError(
            f"{given} is out of range: burstiness must be {MIN_SHAPE:g} to {MAX_SHAPE:g}, cv 0.001 to 31.6"
        )
    return shape
