"""The number of decisions of trace sampling under each threshold, for plans whose share changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import COUNT, SAME_VERSION, SAMPLING_ROWS_IN_DELTA

__all__ = ["MIXED", "SamplingCounts", "added_up", "check_sampling"]

MIXED: Final = 1 << 24
"""As `rejected`: several thresholds, because there were too many rows."""


class SamplingCounts(msgspec.Struct, frozen=True, gc=False):
    """The decisions of one interval under one threshold.

    rejected: the threshold: of 2^24 equally likely values, so many are not sampled; the probability is 1 - rejected /
    2^24. decisions: iterations, or calls with `per="request"`. sampled: how many of them were sampled.
    """

    rejected: int
    decisions: int
    sampled: int


def added_up(rows: Iterable[SamplingCounts]) -> tuple[SamplingCounts, ...]:
    """Return the rows with those of one threshold added up; beyond the limit, the rarest ones are one row `MIXED`."""
    found: dict[int, tuple[int, int]] = {}
    for one in rows:
        decisions, sampled = found.get(one.rejected, (0, 0))
        found[one.rejected] = decisions + one.decisions, sampled + one.sampled
    if len(found) > SAMPLING_ROWS_IN_DELTA:
        mixed = found.pop(MIXED, (0, 0))
        ordered = sorted(found, key=lambda rejected: (-found[rejected][0], rejected))
        for rejected in ordered[SAMPLING_ROWS_IN_DELTA - 1 :]:
            more = found.pop(rejected)
            mixed = mixed[0] + more[0], mixed[1] + more[1]
        found[MIXED] = mixed
    return tuple(SamplingCounts(rejected, *found[rejected]) for rejected in sorted(found))


def check_sampling(name: str, rows: Iterable[SamplingCounts]) -> None:
    """Check the rows of an agent's delta. name: of the delta, for the message.

    Raises:
        WireError: a threshold or a count is impossible.
    """
    for one in rows:
        if not 0 <= one.rejected <= MIXED or not 0 <= one.sampled <= one.decisions <= COUNT:
            raise WireError(
                f"{name}: impossible counts of sampled traces: {one.sampled:,} of {one.decisions:,} with the threshold"
                f" {one.rejected:,}",
                hint=SAME_VERSION,
            )
