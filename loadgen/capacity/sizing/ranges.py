"""An input of a sizing as low, point and high, and draws from it.

    parse_range("1800..2400/s", parse_rate)           # low 1800, point 2100, high 2400
    parse_range("1800..2000..2400/s", parse_rate)     # low, point and high
    parse_range("230/s", parse_rate)                  # one number: it is taken as exact

Low and high are the ends of a 95 % range. A draw is the point times a random factor: its logarithm is normal, with one
standard deviation below the point and another above it, so that 2.5 % of the draws are below low and 2.5 % above high.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, log
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Range", "parse_growth", "parse_number", "parse_range"]

Array = npt.NDArray[np.float64]

_TEXT_MOST: Final = 100
_BARE: Final = re.compile(r"\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*")
_UNIT: Final = re.compile(r"[\d.]\s*([^\d.\s].*)$")


@dataclass(frozen=True, slots=True)
class Range:
    """An input with the ends of its range, all in one unit; `low` equals `high` if it is one number."""

    low: float
    point: float
    high: float
    level: float = 0.95
    """The share of the draws between low and high: 0.9 of a capacity whose interval has 90 %."""

    @classmethod
    def exact(cls, value: float) -> Range:
        """Return the range of one number."""
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        """Return whether the input is one number."""
        return self.low == self.high

    def map(self, of: Callable[[float], float]) -> Range:
        """Return the range of a rising function of the input."""
        return Range(of(self.low), of(self.point), of(self.high), self.level)

    def draws(self, standard: Array) -> Array:
        """Return one value per standard normal number. All of low, point and high must be above 0."""
        z = NormalDist().inv_cdf((1 + self.level) / 2)
        below, above = log(self.point / self.low) / z, log(self.high / self.point) / z
        values: Array = self.point * np.exp(standard * np.where(standard < 0, below, above))
        return values


def parse_range(text: str, parse: Callable[[str], float]) -> Range:
    """Parse one number, `low..high` or `low..point..high`. A part without a unit has the unit of the last part.

    The point of `low..high` is their middle.

    Raises:
        ValueError: a part is invalid, or the parts do not rise.
    """
    if len(text) > _TEXT_MOST:
        raise ValueError("the text is too long; write 230/s, or 210/s..250/s")
    parts = text.split("..")
    if len(parts) > 3 or not all(part.strip() for part in parts):
        raise ValueError(f'invalid range "{text}"; write one number, low..high, or low..point..high')
    unit = _UNIT.search(parts[-1])
    if unit:
        parts = [f"{part.strip()}{unit[1]}" if _BARE.fullmatch(part) else part for part in parts]
    values = [parse(part) for part in parts]
    if not all(map(isfinite, values)):
        raise ValueError(f'invalid range "{text}": its numbers must be finite')
    if values != sorted(values):
        names = "low, point and high" if len(values) == 3 else "low and high"
        raise ValueError(f'invalid range "{text}": {names} must rise; write the smallest first')
    return Range(values[0], values[len(values) // 2] if len(values) != 2 else (values[0] + values[1]) / 2, values[-1])


def parse_growth(text: str) -> float:
    """Parse a growth such as "20%", "-5%" or "0.2", and return it as a share.

    Raises:
        ValueError: not a number, or a number above 1 without %: that may mean either.
    """
    bare = text.strip().removesuffix("%").strip()
    if not _BARE.fullmatch(bare):
        raise ValueError(f'invalid growth "{text}"; write 20%, -5% or 0.2')
    value = float(bare)
    if text.strip().endswith("%"):
        return value / 100
    if value > 1:
        raise ValueError(f'"{text}" can mean {value:g} % or {value:g} times; write {value:g}%, or {value * 100:g}%')
    return value


def parse_number(text: str) -> float:
    """Parse a plain number, such as "1.25".

    Raises:
        ValueError: not a plain number.
    """
    if not _BARE.fullmatch(text):
        raise ValueError(f'invalid number "{text}"; write a number such as 1.25')
    return float(text)
