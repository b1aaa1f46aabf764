"""Loads whose arrivals have times of their own: as values that travel, without the times. Pure."""

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
"""What is told of the times of a `TimedProfile`: enough for any chart."""


class TimedProfile(msgspec.Struct, frozen=True, tag_field="kind", tag="timed"):
    """An open load whose arrivals have times of their own: recorded ones, or those of an executor that a user wrote.

    The times do not travel. Whoever has the scenario has them, too (`dsl/executor.py`); everybody else is told here how
    many there are, about when, and what to tell them by. They lie on a curve of speed: 2 plays them twice as fast.

    Raises:
        ProfileError: played so that it lasts too long, or not at all.
    """

    label: str
    """Whose times they are."""
    count: int
    recorded_ns: int
    """The end of the second in which the last one is, at speed 1."""
    bin_ns: int
    counts: tuple[int, ...]
    """Arrivals in each `bin_ns` at speed 1, at most MAX_BINS; the last bin ends at `recorded_ns`."""
    digest: str
    """See `digest_of`."""
    duration_ns: int
    """As it is played."""
    is_by_chance: bool = False
    """Another seed may give others: known of an executor only by asking it."""
    edited: tuple[Stage, ...] | None = None
    """The speeds, where they were changed while it ran (`edits.py`)."""

    def __post_init__(self) -> None:
        if self.edited is not None:
            return
        if not 0 < self.duration_ns <= MAX_DURATION_NS:
            raise ProfileError(f"a load cannot last {self.duration_ns} ns", hint="more than 0, and at most 366 days")
        if self.peak > MAX_RATE_PER_S:
            raise ProfileError(f"a rate of {self.peak:g}/s is beyond {MAX_RATE_PER_S:g}/s")

    @classmethod
    def of(cls, times_s: np.ndarray, label: str) -> TimedProfile:
        """Of (arrivals,) float64 seconds, non-decreasing, from 0; at least one.

        Bins last whole seconds: of less, the busiest one would say little of the rate.
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
        )

    @property
    def speed(self) -> float:
        """How fast the times are played. Rounded up where it has to be, so that the last one is before the end."""
        speed = self.recorded_ns / self.duration_ns
        return speed if exact(speed) * self.duration_ns >= self.recorded_ns else nextafter(speed, inf)

    @property
    def speeds(self) -> tuple[Stage, ...]:
        """The curve that the times lie on: its area is the seconds of the recording."""
        if self.edited is not None:
            return self.edited
        return (Stage(self.speed, self.speed, self.duration_ns),)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """About how many arrivals/s there are, as it is played."""
        if self.edited is not None:
            return tuple(self._played(self.edited))
        ends_ns = [min((i + 1) * self.bin_ns, self.recorded_ns) for i in range(len(self.counts))]
        edges = [round(Fraction(edge * self.duration_ns, self.recorded_ns)) for edge in (0, *ends_ns)]
        return tuple(
            Stage(rate := count / (end - start) * NS_PER_S if end > start else 0.0, rate, end - start)
            for count, (start, end) in zip(self.counts, pairwise(edges), strict=True)
        )

    def _played(self, speeds: Iterable[Stage]) -> Iterator[Stage]:
        """Bin after bin, at these speeds, each of which holds; nothing after the last one."""
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
        """Iterations/s in the busiest bin."""
        return highest(self.stages)

    def total(self) -> int:
        """How many iterations are due. Exact."""
        return self.count

    def rate_at(self, t_ns: int) -> float:
        """Iterations/s in the bin that `t_ns` is in; 0 before the start and from the end on."""
        for stage in self.stages:
            if 0 <= t_ns < stage.duration_ns:
                return stage.start
            t_ns -= stage.duration_ns
        return 0.0

    def scaled_to(self, peak: float) -> TimedProfile:
        """The same arrivals, so fast or slow that the busiest bin has `peak` arrivals/s."""
        if not isfinite(peak) or peak <= 0:
            raise ProfileError(f"a load cannot be scaled to a rate of {peak:g}", hint="above 0")
        return self.lasting(ceil(self.duration_ns * exact(self.peak) / exact(peak)))

    def lasting(self, duration_ns: int) -> TimedProfile:
        """The same arrivals within exactly `duration_ns`."""
        return msgspec.structs.replace(self, duration_ns=duration_ns)

    def describe(self) -> str:
        """ "arrivals: FlashSale: 1,200 in 2m, at most 60/s"."""
        speed = self.recorded_ns / self.duration_ns
        played = f", {speed:.4g} times as fast" if speed != 1 else ""
        much = f"{self.count:,} in {time_text(self.duration_ns)}, at most {self.peak:,.4g}/s"
        return f"arrivals: {self.label}: {much}{played}"


def digest_of(times_s: np.ndarray) -> str:
    """How many times there are and a hash of them in ms: "1200:0f343b0931126a20".

    In ms, since two machines' logarithms may differ in the last bit, and then in the nanosecond that it rounds to.
    """
    ms = np.rint(times_s * 1_000).astype("<i8")
    return f"{len(times_s)}:{sha256(ms.tobytes()).hexdigest()[:16]}"


def digest_of_levels(levels: Sequence[tuple[int, int]]) -> str:
    """Of (ns, users): how many there are and a hash of them, as in `digest_of`."""
    ms = np.array([(round(at_ns / 1e6), users) for at_ns, users in levels], dtype="<i8")
    return f"{len(levels)}:{sha256(ms.tobytes()).hexdigest()[:16]}"
