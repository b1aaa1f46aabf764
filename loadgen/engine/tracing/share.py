"""The share of iterations (or calls) that is sampled now: fixed, or adapted to a rate and to breached objectives. Pure.

*A rate* (`sample="20/s"`) is that of the whole fleet. Each worker has its part of it, in proportion to its part of the
load, and sets its own threshold: part of the rate / decisions that it expects in the interval. A moving average of the
last intervals gives the expected number. The worker halves the probability when the number of decisions reaches twice
the expected number, and again at each further doubling. So a burst of n times the load takes about 1 + log2(n) times
the part (n of 2 or more), and n times the part below that.

*The first interval* has no average. Its expected number of decisions is the worker's part of the rate, and these are
all sampled. From then on the probability is halved each time that the number of decisions has doubled. With d
decisions/s and a part of r/s, that interval samples at most r (1 + log2(d / r) / 2): of 1,000/s with 20/s, 76. The rate
of the plan is not used, because closed loads and `per="request"` have none.

*A boost* is a lower bound of the probability while an objective is breached (`breaches.py`).

*Weights.* The probability of a decision depends on the number of decisions before it, and on response times of earlier
intervals, but not on its own draw. Each sampled one carries the probability with which it was drawn, and stands for
1 / probability (D. G. Horvitz and D. J. Thompson, 1952). So sums stay unbiased, whatever the thresholds were.
tests/engine/test_weights.py checks it by simulation.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

from loadgen.measure.deltas.limits import SAMPLING_ROWS_IN_DELTA
from loadgen.measure.deltas.sampling_counts import SamplingCounts

__all__ = ["DECISION_BITS", "AdaptiveShare", "Threshold", "threshold_of"]

DECISION_BITS: Final = 24
_NEVER: Final = "g"
"""Greater than any hex digit."""
_SMOOTHING: Final = 0.4
"""The weight of the last interval in the moving average: a step of the load is followed by 92 % within 5 intervals."""


class Threshold(NamedTuple):
    """rejected: the number of values of the deciding digits, of 2^24, that are not sampled.

    digits: an id is sampled if its 6 deciding digits are at least these. text: for `tracestate`.
    """

    rejected: int
    digits: str
    text: str
    probability: float


@lru_cache(256)
def threshold_of(share: float) -> Threshold:
    """Return the threshold of a share, 0 to 1, rounded to 24 bits. A share above 0 is never rounded to 0."""
    values = 1 << DECISION_BITS
    rejected = round((1 - share) * values)
    if share > 0:
        rejected = min(rejected, values - 1)
    digits = f"{rejected:06x}" if rejected < values else _NEVER
    return Threshold(rejected, digits, digits.rstrip("0") or "0", 1 - rejected / values)


class AdaptiveShare:
    """The share of one worker, for all its users. Not thread-safe.

    share: 0 to 1, if only the boost changes it. per_s: this worker's part of a rate, decisions/s; None: no rate.
    boost: the least share while an objective is breached. A worker's part of the rate changes with its part of the load
    (`per_s`).
    """

    __slots__ = (
        "_average",
        "_boost",
        "_decisions",
        "_is_boosted",
        "_left",
        "_probability",
        "_rows",
        "_sampled",
        "_share",
        "now",
        "per_s",
    )

    def __init__(self, share: float = 0.0, per_s: float | None = None, boost: float | None = None) -> None:
        self._share, self._boost = share, boost
        self.per_s = per_s
        self._average: float | None = None
        """Decisions/s that are expected; None: no interval has ended."""
        self._is_boosted = False
        self._decisions = self._sampled = 0
        """Since the last change of the threshold."""
        self._rows: dict[int, tuple[int, int]] = {}
        self._left = 0
        self._probability = 1.0
        self.now = threshold_of(0.0)
        """The threshold in force."""
        self._begin(1.0)

    def draw(self) -> Threshold:
        """HOT, once a decision: some 60 ns. Count a decision, and return the threshold in force for it."""
        self._left -= 1
        if not self._left:
            self._halve()
        self._decisions += 1
        return self.now

    def count_sampled(self) -> None:
        """Count a decision that was positive."""
        self._sampled += 1

    def turn(self, elapsed_ns: int, *, is_breached: bool) -> tuple[SamplingCounts, ...]:
        """End an interval that took `elapsed_ns`, and set the threshold for the next one.

        is_breached: an objective is breached, so the boost applies. Returns the decisions since the last call.
        """
        self._settle()
        rows, self._rows = self._rows, {}
        seconds = max(elapsed_ns, 1) / 1e9
        seen = sum(decisions for decisions, _ in rows.values()) / seconds
        self._average = seen if self._average is None else self._average + _SMOOTHING * (seen - self._average)
        self._is_boosted = is_breached and self._boost is not None
        self._begin(seconds)
        if len(rows) > SAMPLING_ROWS_IN_DELTA:  # 2^32 times as many as expected
            rows = dict(list(rows.items())[:SAMPLING_ROWS_IN_DELTA])
        return tuple(SamplingCounts(rejected, *counts) for rejected, counts in rows.items() if counts[0])

    def _begin(self, seconds: float) -> None:
        """Set the threshold for an interval that will take about `seconds`."""
        if self.per_s is None:
            self._left = -1  # never 0
            self._set(self._share)
            return
        part = self.per_s * seconds
        if self._average is None:
            expected = max(1.0, part)
            self._left = ceil(expected) + 1
        else:
            expected = max(1.0, part, self._average * seconds)
            self._left = 2 * ceil(expected) + 1
        self._set(min(1.0, part / expected))

    def _halve(self) -> None:
        begun = sum(decisions for decisions, _ in self._rows.values()) + self._decisions
        self._left = max(1, begun)  # the present decision is the first one of them
        self._set(self._probability / 2)

    def _set(self, probability: float) -> None:
        self._probability = probability
        if self._is_boosted and self._boost is not None:
            probability = max(probability, self._boost)
        made = threshold_of(min(1.0, max(0.0, probability)))
        if made.rejected != self.now.rejected:
            self._settle()
            self.now = made

    def _settle(self) -> None:
        if self._decisions:
            decisions, sampled = self._rows.get(self.now.rejected, (0, 0))
            self._rows[self.now.rejected] = decisions + self._decisions, sampled + self._sampled
            self._decisions = self._sampled = 0
