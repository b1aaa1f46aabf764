"""The input and the result of the search for series that go with an objective, as plain values.

Arrays have shape (n,): one value for each step of the run, in the order of time; NaN is a value that is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "ALPHA",
    "LAG_S",
    "LEAST_POINTS",
    "Bools",
    "Floats",
    "GoesWith",
    "Judged",
    "LeftOut",
    "Load",
    "Named",
    "ProbeSeries",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_POINTS: Final = 120
"""With fewer points at which both series are known, nothing is tested."""
LAG_S: Final = 10.0
"""The longest lag in both directions."""
ALPHA: Final = 0.01
"""A series is named if its family-wise p is at most this. docs/what-goes-together.md has the measured rates."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One series of an objective: the share above its limit, the logarithm of p99, or the error ratio, by step.

    counts: requests of each step, the weights of means. unit: "%" is written after 100 times the value. is_log: the
    values are natural logarithms of values in `unit`. error_s: the most by which a step may be earlier than its time.
    """

    title: str
    values: Floats
    counts: Floats
    unit: str = "%"
    is_log: bool = False
    error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """One series of the load, which is taken out of all others and never named.

    follows: slow answers change this series, as they do with the requests in flight. Then it is not taken out, because
    that would take the slowness itself out. It only shows which series are the load by another name.
    """

    title: str
    values: Floats
    follows: bool = False


@dataclass(frozen=True, slots=True)
class ProbeSeries:
    """One series of the target's side, with the time of each value, s from the first step.

    period_s: the usual distance of its values. error_s: the most by which the times may be off. host: the machine,
    service or probe to which it belongs; "" if it is unknown.
    """

    title: str
    at_s: Floats
    values: Floats
    period_s: float = 1.0
    unit: str = ""
    host: str = ""
    error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Named:
    """A series that goes with the objective, beyond what the load explains; no proof of a cause.

    sign: 1 if both rise together, -1 if one falls. judged: title of the objective's series. lag_s: above 0 if this
    series comes first. lag_error_s: a lag up to this has no direction.
    low, high: medians of the series in its low and its high steps, in its unit; judged_low, judged_high: the objective
    in these steps, as they were measured. n_low, n_high: their numbers. n: steps at which both are known.
    share: the part of the objective's rest after the load and time that goes with this series, 0 to 1.
    p: family-wise, over all series and lags. strength: the correlation in standard errors.
    together: titles of series of the same host that move with this one.
    """

    title: str
    unit: str
    host: str
    judged: str
    judged_unit: str
    is_log: bool
    sign: int
    lag_s: float
    lag_error_s: float
    low: float
    high: float
    judged_low: float
    judged_high: float
    n_low: int
    n_high: int
    n: int
    share: float
    p: float
    strength: float
    together: tuple[str, ...] = ()

    @property
    def comes_first(self) -> bool | None:
        """Whether the series comes before the objective; None if the lag is within the error of the clocks."""
        return None if abs(self.lag_s) <= self.lag_error_s else self.lag_s > 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A series that was not tested, or that cannot be told from a coincidence, with the reason."""

    title: str
    host: str
    why: str


@dataclass(frozen=True, slots=True)
class GoesWith:
    """The result. named: the strongest first. tested: number of tested series. points: steps with a value.

    not_tested: why nothing was tested; "" otherwise. Then an empty `named` means that none of the series goes with the
    objective clearly.
    """

    named: tuple[Named, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    tested: int = 0
    points: int = 0
    loads: tuple[str, ...] = ()
    not_tested: str = ""
    seed: int = 0
