"""Open loads with given arrival times, as values that are sent without the times themselves. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from math import ceil, inf, isfinite, nextafter

import msgspec
import numpy as np

from loadgen.errors import ProfileError
from loadgen.profiles.describe import time_text
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_RATE_PER_S, Stage, exact, highest
from loadgen.units import NS_PER_S

__all__ = ["MAX_BINS", "TimedProfile", "digest_of", "digest_of_levels"]

MAX_BINS = 600
"""Most bins in which a `TimedProfile` counts its arrivals: enough for any chart."""


class TimedProfile(msgspec.Struct, frozen=True, tag_field="kind", tag="timed"):
    """An open load with given arrival times: recorded ones, or those of an executor in the scenario.

    The times themselves are not part of this value. A process that has the scenario computes them (`dsl/executors`).
    For all others the profile has the number of arrivals, a count per bin, and a digest to compare the times. A curve
    of speeds plays the times; a speed of 2 is twice as fast.

    Raises:
        ProfileError: the duration is invalid, or the rate exceeds its limit.
    """

    label: str
    """Source of the times, e.g. the executor's name."""
    count: int
    """Number of arrivals."""
    recorded_ns: int
    """End of the second that contains the last arrival, at speed 1."""
    bin_ns: int
    """Length of a bin, at speed 1."""
    counts: tuple[int, ...]
    """Arrivals in each bin, at most MAX_BINS; the last bin ends at `recorded_ns`."""
    digest: str
    """Digest of the times; see `digest_of`."""
    duration_ns: int
    """Duration as it is played."""
    is_by_chance: bool = False
    """Whether another seed may give other times, which only the executor can decide."""
    gap_cv: float | None = None
    """Coefficient of variation of the gaps between arrivals: 1 for a Poisson process. None if it is unknown."""
    edited: tuple[Stage, ...] | None = None
    """The speeds, if they were changed during the run (`edits.py`)."""

    def __post_init__(self) -> None:
        if self.edited is not None:
            return
        if not 0 < self.duration_ns <= MAX_DURATION_NS:
            raise ProfileError(f"a load cannot last {self.duration_ns} ns", hint="use more than 0 and at most 366 days")
        if self.peak > MAX_RATE_PER_S:
            raise ProfileError(
                f"a rate of {self.peak:g}/s exceeds the limit of {MAX_RATE_PER_S:g}/s", hint="play the times slower"
            )

    @classmethod
    def of(cls, times_s: np.ndarray, label: str) -> TimedProfile:
        """Make the profile of arrivals at given times.

        Args:
            times_s: (arrivals,) float64 seconds, non-decreasing, at least 0; at least one.
            label: source of the times.
        """
        seconds = int(times_s[-1]) + 1
        bin_s = -(-seconds // MAX_BINS)
        counts = np.bincount((times_s / bin_s).astype(np.int64), minlength=-(-seconds // bin_s))
        return cls(
            label=label,
            count=len(times_s),
            recorded_ns=seconds * NS_PER_S,
            bin_ns=bin_s * NS_PER_S,
            counts=tuple(counts.tolist()),
            digest=digest_of(times_s),
            duration_ns=seconds * NS_PER_S,
            gap_cv=_gap_cv(times_s),
        )

    @property
    def speed(self) -> float:
        """Factor by which the recorded times are played faster than they were recorded.

        It is rounded up if necessary so that the last arrival is before the end.
        """
        speed = self.recorded_ns / self.duration_ns
        return speed if exact(speed) * self.duration_ns >= self.recorded_ns else nextafter(speed, inf)

    @property
    def speeds(self) -> tuple[Stage, ...]:
        """The playback speed over time, as stages; the area under it is the seconds of the recording."""
        if self.edited is not None:
            return self.edited
        return (Stage(self.speed, self.speed, self.duration_ns),)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The approximate rate over time as it is played, in arrivals/s, with one stage per bin."""
        if self.edited is not None:
            return tuple(self._played(self.edited))
        ends_ns = [min((i + 1) * self.bin_ns, self.recorded_ns) for i in range(len(self.counts))]
        edges = [round(Fraction(edge * self.duration_ns, self.recorded_ns)) for edge in (0, *ends_ns)]
        return tuple(
            Stage(rate := count / (end - start) * NS_PER_S if end > start else 0.0, rate, end - start)
            for count, (start, end) in zip(self.counts, pairwise(edges), strict=True)
        )

    def _played(self, speeds: Iterable[Stage]) -> Iterator[Stage]:
        """Yield the rate of each bin as a stage, played at these constant speeds; rate 0 after the last bin."""
        recorded_ns = 0.0
        for one in speeds:
            left_ns = one.duration_ns
            while left_ns > 0:
                k = int(recorded_ns // self.bin_ns)
                if k >= len(self.counts) or not one.start:
                    yield Stage(0.0, 0.0, left_ns)
                    break
                bin_end_ns = min((k + 1) * self.bin_ns, self.recorded_ns)
                rate = self.counts[k] / (bin_end_ns - k * self.bin_ns) * NS_PER_S * one.start
                took_ns = min(left_ns, max(1, round((bin_end_ns - recorded_ns) / one.start)))
                yield Stage(rate, rate, took_ns)
                recorded_ns, left_ns = recorded_ns + took_ns * one.start, left_ns - took_ns

    @property
    def peak(self) -> float:
        """Rate in the busiest bin, in iterations/s."""
        return highest(self.stages)

    def total(self) -> int:
        """Return the exact number of arrivals in the whole load."""
        return self.count

    def rate_at(self, t_ns: int) -> float:
        """Return the rate at `t_ns` after the load begins, in iterations/s; 0 before the beginning and after the end.

        It is the average rate of the bin that contains `t_ns`.
        """
        for stage in self.stages:
            if 0 <= t_ns < stage.duration_ns:
                return stage.start
            t_ns -= stage.duration_ns
        return 0.0

    def scaled_to(self, peak: float) -> TimedProfile:
        """Return a profile with the same arrivals, played so fast that the busiest bin has `peak` arrivals/s."""
        if not isfinite(peak) or peak <= 0:
            raise ProfileError(f"a load cannot be scaled to a rate of {peak:g}", hint="use a finite rate above 0")
        return self.lasting(ceil(self.duration_ns * exact(self.peak) / exact(peak)))

    def lasting(self, duration_ns: int) -> TimedProfile:
        """Return a profile with the same arrivals, played at the speed at which it lasts exactly `duration_ns`."""
        return msgspec.structs.replace(self, duration_ns=duration_ns)

    def describe(self) -> str:
        """Return the load in words: "arrivals: FlashSale: 1,200 in 2m, at most 60/s"."""
        speed = self.recorded_ns / self.duration_ns
        played = f", {speed:.4g} times as fast" if speed != 1 else ""
        much = f"{self.count:,} in {time_text(self.duration_ns)}, at most {self.peak:,.4g}/s"
        return f"arrivals: {self.label}: {much}{played}"


def _gap_cv(times_s: np.ndarray) -> float | None:
    """Return the standard deviation of the gaps between arrivals, divided by their mean.

    Returns None for fewer than three arrivals, and if all are at the same time.
    """
    gaps_s = np.diff(times_s)
    if len(gaps_s) < 2 or not gaps_s.any():
        return None
    return float(gaps_s.std() / gaps_s.mean())


def digest_of(times_s: np.ndarray) -> str:
    """Return a text to compare lists of times: their number and a hash of them, such as "1200:0f343b0931126a20".

    They are rounded to ms, because logarithms may differ in the last bit between machines, and so may the nanosecond.
    """
    ms = np.rint(times_s * 1_000).astype("<i8")
    return f"{len(times_s)}:{sha256(ms.tobytes()).hexdigest()[:16]}"


def digest_of_levels(levels: Sequence[tuple[int, int]]) -> str:
    """Return a text to compare lists of (ns, users) pairs: their number and a hash, with times rounded to ms."""
    ms = np.array([(round(at_ns / 1e6), users) for at_ns, users in levels], dtype="<i8")
    return f"{len(levels)}:{sha256(ms.tobytes()).hexdigest()[:16]}"
