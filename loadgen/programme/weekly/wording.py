"""How uncertainty is worded: one table for every page, so that two pages never say the same thing differently.

| what is known of a change                             | the words                                        |
|-------------------------------------------------------|--------------------------------------------------|
| its interval excludes 0, and the gate's rule holds    | became slower by 6 % (4 to 8 %)                  |
| its interval lies within `NARROW` around 0            | did not change by more than 2 %                  |
| its interval is wider than `WIDE` to a side           | we cannot tell: 5 runs would                     |
| else, by its sign                                     | perhaps slower; not certain                      |
| nothing                                               | not measured                                     |

The word for a certain effect in statistics and the probability that an interval contains the truth do not occur:
readers take both for something else. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, isfinite, log1p
from typing import Final, Literal

from loadgen.units import quantity

__all__ = [
    "NARROW",
    "NOT_MEASURED",
    "RULE",
    "WIDE",
    "Certainty",
    "Change",
    "about",
    "certainty_of",
    "runs_needed",
    "worded",
]

RULE: Final = 0.03
"""The least change that counts: the gate's own rule. 0.03 is 3 %."""
NARROW: Final = 0.03
WIDE: Final = 0.10
"""The half width of an interval from which on a change is not known at all."""
NOT_MEASURED: Final = "not measured"
_MOST_RUNS: Final = 50
Certainty = Literal["certain", "narrow", "wide", "leans", "nothing"]


@dataclass(frozen=True, slots=True)
class Change:
    """A relative change with its 95 % interval: 0.06 is 6 % slower. nan: not known.

    runs: of the newer side. holds: whether the rule of the method that found it holds, too, such as the correction for
    many names.
    """

    change: float
    low: float
    high: float
    runs: int = 0
    holds: bool = True

    @property
    def is_known(self) -> bool:
        """Return whether there is a change with an interval."""
        return all(map(isfinite, (self.change, self.low, self.high)))


def certainty_of(found: Change | None) -> Certainty:
    """Return which row of the table holds."""
    if found is None or not isfinite(found.change):
        return "nothing"
    if not found.is_known:
        return "wide"
    if found.holds and (found.low > 0 or found.high < 0) and abs(found.change) >= RULE:
        return "certain"
    if max(abs(found.low), abs(found.high)) <= NARROW:
        return "narrow"
    return "wide" if found.high - found.low > 2 * WIDE else "leans"


def worded(found: Change | None, *, slower: str = "slower", faster: str = "faster") -> str:
    """Return the words for a change, without a full stop. slower, faster: the words for more and for less."""
    kind = certainty_of(found)
    if found is None or kind == "nothing":
        return NOT_MEASURED
    word = slower if found.change > 0 else faster
    if kind == "certain":
        low, high = sorted((abs(found.low), abs(found.high)))
        ends = (f"{100 * low:.0f}", f"{100 * high:.0f} %")
        return f"became {word} by {100 * abs(found.change):.0f} % ({' to '.join(ends)})"
    if kind == "narrow":
        most = max(abs(found.low), abs(found.high))
        return f"did not change by more than {max(ceil(100 * most - 1e-9), 1)} %"
    if kind == "wide":
        more = runs_needed(found)
        return "we cannot tell" if more is None else f"we cannot tell: {quantity(more, 'run')} would"
    return f"perhaps {word}; not certain"


def about(found: Change) -> str:
    """Return the size of a change whose interval excludes 0, for leadership: "about 6 %".

    It is rounded to the first digit of half the interval's width, and never finer than 1 %. If half the width is more
    than half of the change, its limits are returned instead: "5 to 25 %".
    """
    size, half = abs(found.change), (found.high - found.low) / 2
    low, high = sorted((abs(found.low), abs(found.high)))
    if half > size / 2:
        return f"{max(floor(100 * low), 0)} to {ceil(100 * high)} %"
    unit = 10.0 ** max(floor(log1p(max(half * 100 - 1, 0)) / log1p(9)), 0) / 100
    return f"about {100 * max(round(size / unit) * unit, 0.01):.0f} %"


def runs_needed(found: Change) -> int | None:
    """Return how many runs would make the half width of the interval `NARROW`; None: not known, or more than 50.

    The half width shrinks with the square root of the number of runs.
    """
    if not found.is_known or found.runs < 1:
        return None
    half = (found.high - found.low) / 2
    needed = ceil(found.runs * (half / NARROW) ** 2)
    return needed if needed <= _MOST_RUNS else None
