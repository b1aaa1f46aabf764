"""Figures of times that are compared: the curve of requests, active sessions, and bunching of requests and sessions.

Unlike the parts of `session_summary`, these need all sessions of a log: a sample has fewer bursts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.burstiness import WINDOW_S, dispersion, variation, window_sums
from loadgen.traffic.model.gap_bins import BINS, bin_of
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = ["STEPS_S", "Bursts", "TimeSummary", "Times", "bursts_of", "mean_of", "time_summary", "times_of"]

STEPS_S: Final = (1, 10, 60)
_BINS_S: Final = (300, 900, 3_600)
_LEAST_SESSIONS: Final = 50
_LEAST_BINS: Final = 5
_LEAST_MINUTES: Final = 2
_WINDOWS_S: Final = (WINDOW_S, 60, 20)
_LEAST_WINDOWS: Final = 6
"""Fewer windows have too few different halves for a floor."""
_SHORT_BINS_S: Final = (60, 10)


@dataclass(frozen=True)
class Times:
    """Sessions and requests of a whole log, simulation or run. Sessions are sorted by start.

    begin_s: when it begins. The curve of a simulation begins there, too.
    by_second: requests that start in each second from `begin_s` on.
    starts, durations: of sessions, µs; starts count from `begin_s`. lengths: requests of sessions.
    """

    begin_s: int
    by_second: NDArray[np.int64]
    starts: NDArray[np.int64]
    durations: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def span_s(self) -> int:
        """Seconds from the beginning to the end."""
        return len(self.by_second)

    def repeated(self, times: NDArray[np.int64]) -> Times:
        """Return sessions that are repeated; `by_second` stays. times: how often, for each session."""
        return replace(
            self,
            starts=np.repeat(self.starts, times),
            durations=np.repeat(self.durations, times),
            lengths=np.repeat(self.lengths, times),
        )

    def beginning_with(self, first_us: int) -> Times:
        """Return the same, with another beginning: the first session starts `first_us` after it, or up to 1 s later."""
        moved_s = -((int(self.starts[0]) - first_us) // 1_000_000)
        by_second = self.by_second[-moved_s:] if moved_s < 0 else np.pad(self.by_second, (moved_s, 0))
        return replace(
            self, begin_s=self.begin_s - moved_s, by_second=by_second, starts=self.starts + moved_s * 1_000_000
        )


@dataclass(frozen=True)
class Bursts:
    """Bunching by window of 10 minutes; of logs below an hour by minute, and below 6 minutes by 20 s.

    sums: by step of 1, 10 and 60 s, requests in each step; a row for each window. Without steps longer than half a
    window. gap_us: times between starts of sessions. gap_window: the window of each.
    """

    sums: dict[int, NDArray[np.int64]]
    gap_us: NDArray[np.int64]
    gap_window: NDArray[np.int64]

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(next(iter(self.sums.values())))

    def of_windows(self, chosen: NDArray[np.bool_]) -> Bursts:
        """Return the bunching in some of the windows."""
        is_in = chosen[self.gap_window]
        return Bursts(
            {step_s: sums[chosen] for step_s, sums in self.sums.items()}, self.gap_us[is_in], self.gap_window[is_in]
        )

    @property
    def dispersions(self) -> dict[int, float]:
        """The index of dispersion of requests by step. A step without any request in the windows is left out."""
        return {step_s: dispersion(sums) for step_s, sums in self.sums.items() if sums.any()}

    @property
    def gaps(self) -> NDArray[np.int64]:
        """Times between starts of sessions in the bins of `gap_bins`."""
        return np.bincount(bin_of(self.gap_us), minlength=BINS)

    @property
    def variation(self) -> float | None:
        """The coefficient of variation of the times between starts of sessions; None for few sessions."""
        return variation(self.gap_us.astype(np.float64)) if len(self.gap_us) > 1 and self.gap_us.any() else None


@dataclass(frozen=True)
class TimeSummary:
    """Curves and bunching. curve: requests in each bin; active: mean number of active sessions there."""

    bin_s: int
    curve: NDArray[np.float64]
    active: NDArray[np.float64]
    dispersions: dict[int, float]
    gaps: NDArray[np.int64]
    variation: float | None

    @property
    def total(self) -> float:
        """Requests."""
        return float(self.curve.sum())


def times_of(table: SessionTable, begin_s: int | None = None, span_s: int | None = None) -> Times:
    """Return the times of a table's sessions, which are all sessions of a log or simulation.

    begin_s: default: the second of the first start. span_s: default: up to the second of the last request. Requests
    after it do not count.
    """
    starts = table.starts
    begin_s = int(starts[0]) // 1_000_000 if begin_s is None else begin_s
    second = table.start // 1_000_000 - begin_s
    last_end = np.maximum.reduceat(table.end, table.bounds[:-1])
    span_s = int(second.max()) + 1 if span_s is None else span_s
    by_second = np.bincount(second[(second >= 0) & (second < span_s)], minlength=span_s)
    return Times(begin_s, by_second, starts - begin_s * 1_000_000, last_end - starts, np.diff(table.bounds))


def bin_of_curve(times: Times) -> int:
    """Return the length of a bin in s: 5 minutes, or longer if these have few sessions, or shorter for short logs."""
    for bin_s in _BINS_S:
        if times.span_s >= _LEAST_BINS * bin_s and len(times.starts) * bin_s >= _LEAST_SESSIONS * times.span_s:
            return bin_s
    fit = [bin_s for bin_s in (*reversed(_BINS_S), *_SHORT_BINS_S) if times.span_s >= _LEAST_BINS * bin_s]
    return fit[0] if fit else 1


def bursts_of(times: Times) -> Bursts | None:
    """Return the bunching; None without a whole minute."""
    if not len(times.starts):
        return None
    # Sessions begin and end to start within a minute, so the first and the last minute are not whole.
    first, last = (int(times.starts[at]) // 60_000_000 for at in (0, -1))
    begin, end = (first + 1, last) if last - first > _LEAST_MINUTES else (first, min(last + 1, times.span_s // 60))
    window_s = next((one for one in _WINDOWS_S if 60 * (end - begin) >= _LEAST_WINDOWS * one), _WINDOWS_S[-1])
    skipped_s = 60 * begin
    by_second = times.by_second[skipped_s : 60 * end]
    windows = len(by_second) // window_s
    if not windows:
        return None
    sums = {step_s: window_sums(by_second, step_s, window_s) for step_s in STEPS_S if 2 * step_s <= window_s}
    gap_us, begin_us = np.diff(times.starts), times.starts[1:] - skipped_s * 1_000_000
    window = begin_us // (window_s * 1_000_000)
    is_in = (window >= 0) & (window < windows)
    return Bursts(sums, gap_us[is_in], window[is_in])


def time_summary(times: Times, like: TimeSummary | None = None) -> TimeSummary:
    """Return the summary. like: the summary with which it will be compared; it has the bins."""
    bin_s = bin_of_curve(times) if like is None else like.bin_s
    bins = -(-times.span_s // bin_s) if like is None else len(like.curve)
    bursts = bursts_of(times)
    return TimeSummary(
        bin_s=bin_s,
        curve=curve_of(times.by_second, bin_s, bins),
        active=active_of(times, bin_s, bins),
        dispersions={} if bursts is None else bursts.dispersions,
        gaps=np.zeros(BINS, np.int64) if bursts is None else bursts.gaps,
        variation=None if bursts is None else bursts.variation,
    )


def curve_of(by_second: NDArray[np.int64], bin_s: int, bins: int) -> NDArray[np.float64]:
    """Return the requests in each of the first bins."""
    second = np.arange(min(len(by_second), bins * bin_s))
    return np.bincount(second // bin_s, weights=by_second[: len(second)], minlength=bins).astype(np.float64)


def active_of(times: Times, bin_s: int, bins: int) -> NDArray[np.float64]:
    """Return the mean number of active sessions in each bin, by Little's law: their time in the bin, per second."""
    edges = (np.arange(bins + 1) * bin_s * 1e6).astype(np.float64)

    def time_since(us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return, for each edge, the sum of the times since those of `us` that are before it."""
        # As floats, because the sum of 10 million times of 76 days does not fit 64 bits.
        at = np.sort(us).astype(np.float64)
        before = np.searchsorted(at, edges)
        found: NDArray[np.float64] = before * edges - np.append(0, np.cumsum(at))[before]
        return found

    active = time_since(times.starts) - time_since(times.starts + times.durations)
    return (np.diff(active) / (bin_s * 1e6)).astype(np.float64)


def mean_of(several: Sequence[TimeSummary]) -> TimeSummary:
    """Return the mean of summaries of several simulations, which have the same bins."""
    variations = [one.variation for one in several if one.variation is not None]
    steps = several[0].dispersions
    return TimeSummary(
        bin_s=several[0].bin_s,
        curve=np.mean([one.curve for one in several], axis=0),
        active=np.mean([one.active for one in several], axis=0),
        dispersions={step: float(np.mean([one.dispersions.get(step, 0.0) for one in several])) for step in steps},
        gaps=np.sum([one.gaps for one in several], axis=0),
        variation=float(np.mean(variations)) if variations else None,
    )
