"""Parses and formats quantities as people write them: "500ms", "200/s", "0.1%", "5MB".

Durations are integer nanoseconds, rates floats in 1/s, ratios floats from 0 to
1, sizes integer bytes. Parsing is exact if the unit allows it (decimal, not
binary floating point). An invalid text raises `ValueError` with an example.
"""

from __future__ import annotations

import re
from decimal import Decimal
from math import inf, isfinite, isnan

__all__ = [
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "format_change",
    "format_changes",
    "format_count",
    "format_duration",
    "format_rate",
    "format_ratio",
    "format_share",
    "parse_duration",
    "parse_rate",
    "parse_ratio",
    "parse_size",
    "quantity",
]

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_DURATION_NS = {
    "ns": 1,
    "us": NS_PER_US,
    "µs": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}
_RATE_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SIZE_BYTES = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_FAR = 1000
"""Changes above this many percent are shown as "> +1000 %"."""
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)")


def parse_duration(text: str | float) -> int:
    """Parse a duration, such as "500ms", "2m" or "1m30s", and return it in ns. A bare number is in seconds.

    Raises:
        ValueError: not a duration, negative, or not finite.
    """
    if isinstance(text, int | float):
        if not 0 <= text < float("inf"):
            raise ValueError(f"invalid duration {text}: must be finite and at least 0")
        return round(text * NS_PER_S)
    squeezed = text.strip().lower().replace(" ", "")
    parts = _PART.findall(squeezed)
    if not parts or "".join(n + u for n, u in parts) != squeezed or any(u not in _DURATION_NS for _, u in parts):
        raise ValueError(f'invalid duration "{text}"; write "500ms", "10s", "2m", "1m30s" or "1h"')
    return int(sum(Decimal(number) * _DURATION_NS[unit] for number, unit in parts))


def parse_rate(text: str | float) -> float:
    """Parse a rate, such as "200/s", "30/m" or "1000/h", and return it in iterations per second. A bare number is per
    second.

    Negative rates are accepted here; the profile rejects them, with their place in the scenario.

    Raises:
        ValueError: not a rate, or not finite.
    """
    if isinstance(text, int | float):
        if not abs(text) < float("inf"):
            raise ValueError(f"invalid rate {text}: must be finite")
        return float(text)
    match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*([a-z]+))?\s*", text.lower())
    if match is None or (match[2] or "s") not in _RATE_S:
        raise ValueError(f'invalid rate "{text}"; write "200/s", "30/m" or "1000/h"')
    rate = float(Decimal(match[1]) / _RATE_S[match[2] or "s"])
    if not isfinite(rate):
        raise ValueError(f'the rate "{text[:40]}..." is too large; lower it')
    return rate


def parse_ratio(text: str | float) -> float:
    """Parse a ratio, such as "0.1%" or 0.001, and return it as a number from 0 to 1.

    Raises:
        ValueError: not a ratio, or outside 0 to 1.
    """
    try:
        stripped = text.strip() if isinstance(text, str) else str(text)
        value = Decimal(stripped[:-1]) / 100 if stripped.endswith("%") else Decimal(stripped)
    except ArithmeticError:
        raise ValueError(f'invalid ratio "{text}"; write "0.1%" or 0.001') from None
    if not value.is_finite() or not 0 <= value <= 1:
        raise ValueError(f'invalid ratio "{text}": must be from 0 to 100 %')
    return float(value)


def parse_size(text: str | int) -> int:
    """Parse a size, such as "5MB", "64KiB" or 1024, and return it in bytes.

    Raises:
        ValueError: not a size, or negative.
    """
    if isinstance(text, int):
        if text < 0:
            raise ValueError(f"invalid size {text}: must be at least 0")
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if match is None or match[2] not in _SIZE_BYTES:
        raise ValueError(f'invalid size "{text}"; write "5MB" or "64KiB"')
    return int(Decimal(match[1]) * _SIZE_BYTES[match[2]])


def format_duration(ns: float) -> str:
    """Return a duration as text with three significant digits and a fitting unit: "412 µs", "1.53 ms", "2.50 s",
    "1m30s".

    From a minute on, it shows whole seconds.
    """
    if ns < 0:
        return "-" + format_duration(-ns)
    if ns >= 60 * NS_PER_S:
        seconds = round(ns / NS_PER_S)
        hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
        return "".join(f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (rest, "s")) if n)
    for unit, size in (("s", NS_PER_S), ("ms", NS_PER_MS), ("µs", NS_PER_US)):
        if ns >= size * 0.9995:
            return f"{_three_digits(ns / size)} {unit}"
    return f"{ns:.0f} ns" if ns else "0 s"


def format_rate(per_s: float) -> str:
    """Return a rate as "200/s" or "0.50/s"."""
    return f"{_three_digits(per_s) if per_s < 1000 else format_count(round(per_s))}/s"


def format_ratio(ratio: float) -> str:
    """Return a ratio as text in percent, with more digits near 0 and 1: "0.10 %", "61.5 %", "99.90 %", "100 %".

    A small ratio is never shown as 0 ("< 0.001 %"), and one that is almost 1 never as 100 %.
    """
    percent = ratio * 100
    if 0 < percent < 0.001:
        return "< 0.001 %"
    if 99.999 < percent < 100:
        return "> 99.999 %"
    if percent == 100:
        return "100 %"
    digits = 3 if 0 < percent < 0.1 or 99.9 < percent < 100 else 2 if percent < 10 or percent > 99 else 1
    return f"{percent:.{digits}f} %"


def format_share(share: float) -> str:
    """Return a limit or an effect, given as a number such as 0.03, as text in percent: "3 %" or "11.8 %"; "any" for
    inf.
    """
    return "any" if share == inf else f"{share * 100:.3g} %" if abs(share) < 10 else f"{share * 100:,.0f} %"


def format_change(change: float) -> str:
    """Return a relative change such as 0.046 as "+4.6 %"; also "-12.0 %", "0.0 %", "+130 %", "> +1000 %"; "-" for nan.

    It shows tenths of a percent at most, because runs of the same code differ by more.
    """
    percent = change * 100
    if isnan(percent):
        return "-"
    if percent > _FAR:
        return f"> +{_FAR} %"
    if abs(percent) < 0.05:
        return "0.0 %"
    return f"{percent:+.1f} %" if abs(percent) < 99.95 else f"{percent:+.0f} %"


def format_changes(low: float, high: float) -> str:
    """Return the limits of a relative change, such as 0.019 and 0.064, as text: "+1.9 to +6.4 %"; "-" for nan."""
    return "-" if isnan(low) else f"{format_change(low).removesuffix(' %')} to {format_change(high)}"


def format_count(count: int) -> str:
    """Return an integer as "12,345"."""
    return f"{count:,}"


def quantity(count: int, noun: str) -> str:
    """Return a number with its noun: "1 agent", "1,200 agents". noun: in the singular, with a plural in -s."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
