"""Parses limits on values of probes, such as `80%`, `500ms` or `20`, and the conditions of `stop_when`. Pure.

    connections > 95% for 30s
    ttft p95 > 2s for 1m
    pods ready < 3

A condition is a row, for a histogram p50, p95 or p99, `<` or `>`, a limit, and how long the condition must hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

import msgspec

from loadgen.units import NS_PER_S, format_duration, parse_duration

__all__ = [
    "Bound",
    "Comparison",
    "StopRule",
    "limit_wrong",
    "number_text",
    "parse_bound",
    "parse_stop",
    "with_unit",
]

Comparison = Literal["<", ">"]
_NUMBER: Final = re.compile(
    r"([-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*([^\s\d]{1,20}(?: [^\s\d]{1,20})?)?", re.ASCII
)
_TIMES: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZES: Final = {
    "B": 1.0,
    "bytes": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
}
_UNITS: Final[dict[str, tuple[str, float]]] = {
    "": ("", 1.0),
    "%": ("%", 1.0),
    "/s": ("1/s", 1.0),
    "1/s": ("1/s", 1.0),
    **{unit: ("s", size) for unit, size in _TIMES.items()},
    **{unit: ("B", size) for unit, size in _SIZES.items()},
    **{f"{unit}/s": ("B/s", size) for unit, size in _SIZES.items()},
}
"""By unit: the unit of its kind, and its size in that unit."""
_FOR_MOST_NS: Final = 24 * 3_600 * NS_PER_S
_TEXT_MOST: Final = 300
_STOP_HINT: Final = 'write a condition such as "connections > 95% for 30s"'
_CONDITION: Final = re.compile(r"(?P<row>[^<>]*?)\s*(?P<operator>=?[<>][<>=]*)\s*(?P<rest>.*)")
_FOR: Final = re.compile(r"(?P<limit>.*?)\s*\bfor\b\s*(?P<time>.*)")
_PERCENTILE: Final = re.compile(r"(?P<row>.*\S)\s+p(?P<q>[0-9.]+)")
_PERCENTILES: Final = (50.0, 95.0, 99.0)
"""Probes keep the bounds of these (`points.PERCENTILES`)."""


class Bound(msgspec.Struct, frozen=True):
    """A limit as it was written. value: in `unit`."""

    value: float
    unit: str = ""

    def in_unit(self, unit: str) -> float | None:
        """Return the limit in the unit of a row; None if the units are of different kinds.

        A plain number has the unit of the row, except of a row in %: there it could mean a share of 1.
        """
        if not self.unit:
            return None if unit == "%" else self.value
        if self.unit == unit:
            return self.value
        (own, size), (wanted, of) = _UNITS.get(self.unit, (self.unit, 1.0)), _UNITS.get(unit, (unit, 1.0))
        return self.value * size / of if own == wanted else None

    @property
    def text(self) -> str:
        """Return the limit for a sentence: "95 %", "500 ms", "20"."""
        return with_unit(number_text(self.value), self.unit)


@dataclass(frozen=True, slots=True)
class StopRule:
    """A condition of `stop_when`. for_ns: how long it must hold; 0: one sample decides."""

    row: str
    operator: Comparison
    bound: Bound
    for_ns: int = 0
    q: float | None = None
    """The percentile of a histogram; None: p95."""

    def __str__(self) -> str:
        """Return the condition in the form that `parse_stop` reads."""
        percentile = "" if self.q is None else f" p{self.q:g}"
        time = f" for {self.for_ns / NS_PER_S:.9f}".rstrip("0").rstrip(".") + "s" if self.for_ns else ""
        return f"{self.row}{percentile} {self.operator} {self.bound.value!r}{self.bound.unit}{time}"

    @property
    def text(self) -> str:
        """Return the condition for a sentence: "connections above 95 % for 30 s"."""
        percentile = "" if self.q is None else f" p{self.q:g}"
        side = "above" if self.operator == ">" else "below"
        time = f" for {_short(self.for_ns)}" if self.for_ns else ""
        return f"{self.row}{percentile} {side} {self.bound.text}{time}"


def parse_bound(limit: object) -> Bound:
    """Return a limit: a number, or a text with a unit such as "80%", "500ms", "200 MiB" or "5/s".

    Raises:
        ValueError: it is not a limit.
    """
    if isinstance(limit, bool) or not isinstance(limit, str | int | float):
        raise ValueError("the limit must be a number or a text")
    if not isinstance(limit, str):
        try:
            value = float(limit)
        except OverflowError:
            value = float("inf")
        if not isfinite(value):
            raise ValueError("the limit must be a finite number")
        return Bound(value)
    text = limit.strip()
    match = _NUMBER.fullmatch(text)
    if match is None:
        try:
            return Bound(parse_duration(text) / NS_PER_S, "s")
        except (ValueError, OverflowError):
            raise ValueError(f'{text[:40]!r} is not a number with a unit, such as "80%", "500ms" or "20"') from None
    value = float(match[1].replace("_", ""))
    if not isfinite(value):
        raise ValueError("the limit must be a finite number")
    return Bound(value, match[2] or "")


def parse_stop(text: object) -> tuple[StopRule | None, list[tuple[str, str]]]:
    """Return the condition of `stop_when`, or None and all errors in it as (message, hint)."""
    if not isinstance(text, str) or not text.strip():
        return None, [(f"{text!r} is not a condition" if text else "the condition is empty", _STOP_HINT)]
    if len(text) > _TEXT_MOST or not text.isprintable():
        return None, [(f"the condition must be one line of at most {_TEXT_MOST} characters", _STOP_HINT)]
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        return None, [(f"{text.strip()[:80]!r} has no < or >", _STOP_HINT)]
    wrong: list[tuple[str, str]] = []
    row, operator, rest = match["row"].strip(), match["operator"], match["rest"].strip()
    q = None
    if (named := _PERCENTILE.fullmatch(row)) is not None:
        row, q = named["row"], _percentile(named["q"], wrong)
    if not row:
        wrong.append((f"a row is missing before {operator}", _STOP_HINT))
    if operator not in ("<", ">"):
        wrong.append((f"unknown operator {operator}", "write < or >"))
    limit, for_ns = rest, 0
    if (timed := _FOR.fullmatch(rest)) is not None:
        limit, for_ns = timed["limit"], _for_ns(timed["time"], wrong)
    bound = Bound(0.0)
    if not limit:
        wrong.append((f"a limit is missing after {operator}", _STOP_HINT))
    else:
        try:
            bound = parse_bound(limit)
        except ValueError as error:
            wrong.append((str(error), _STOP_HINT))
    if wrong:
        return None, wrong
    return StopRule(row, ">" if operator == ">" else "<", bound, for_ns, q), []


def limit_wrong(bound: Bound, unit: str, title: str) -> tuple[str, str] | None:
    """Return (message, hint) if a limit does not fit a row of this unit; None if it fits. title: of the row."""
    value = number_text(bound.value)
    if not bound.unit and unit in ("%", "s"):
        kind = "in %" if unit == "%" else "a time"
        percent = number_text(bound.value * 100) if 0 < bound.value <= 1 else value
        return f'"{title}" is {kind}, and the limit has no unit', f'write "{percent if unit == "%" else value}{unit}"'
    if bound.in_unit(unit) is not None:
        return None
    if bound.unit == "%":
        return f'"{title}" is not in %: the probe does not know its limit', "write a number instead of a percentage"
    shown = f'is in "{unit}"' if unit else "is a plain number"
    return f'"{title}" {shown}, and the limit is in "{bound.unit[:20]}"', f'write "{value}{unit}"' if unit else (
        f"write {value}"
    )


def number_text(value: float) -> str:
    """Return a number with at most six digits and without an exponent where possible: "1200", "97.5"."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def with_unit(number: str, unit: str) -> str:
    """Return a number with its unit: "95 %", "12.5/s", "20"."""
    unit = "/s" if unit == "1/s" else unit
    return f"{number}{unit}" if unit.startswith("/") else f"{number} {unit}".rstrip()


def _percentile(text: str, wrong: list[tuple[str, str]]) -> float | None:
    try:
        q = float(text)
    except ValueError:
        q = 0.0
    if q not in _PERCENTILES:
        wrong.append((f"unknown percentile p{text[:10]}", "write p50, p95 or p99"))
        return None
    return q


def _for_ns(text: str, wrong: list[tuple[str, str]]) -> int:
    """Return the time of `for`, in ns; 0 if it is wrong."""
    if not text:
        wrong.append(("a time is missing after for", _STOP_HINT))
        return 0
    try:
        for_ns = parse_duration(text)
        if not 0 < for_ns <= _FOR_MOST_NS:
            raise ValueError(f"for {text.strip()[:40]}: must be above 0 and at most 24 h")
    except (ValueError, OverflowError) as error:
        wrong.append((str(error), _STOP_HINT))
        return 0
    return for_ns


def _short(ns: int) -> str:
    """Return a duration without needless digits: "30 s", "1m30s"."""
    return f"{number_text(ns / NS_PER_S)} s" if NS_PER_S <= ns < 60 * NS_PER_S else format_duration(ns)
