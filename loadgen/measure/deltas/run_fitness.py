"""The state of an agent's load generator over a whole run, summed up as far as the advice in the report needs it.

Its size is bounded, however long the run: kinds of reasons, spans of unfit time, and for each rate
(in steps of 10 %) the number of intervals and of unfit ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor, log
from typing import Final, Literal

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.read_health import ReadFitness
from loadgen.measure.deltas.stream_health import StreamFitness
from loadgen.units import NS_PER_S

__all__ = ["Cause", "Fitness", "Holder", "cause_of", "spans_text"]

Cause = Literal[
    "lag",
    "busy",
    "starved",
    "machine",
    "throttled",
    "gc",
    "steal",
    "sockets",
    "fds",
    "ports",
    "memory",
    "network",
    "other",
]
"""Kinds of reasons. `busy`, `starved`, `machine` and `throttled` explain a lag and never occur alone."""

_CAUSES: Final[dict[Cause, re.Pattern[str]]] = {
    "lag": re.compile("^lag"),
    "busy": re.compile("^its core was busy"),
    "starved": re.compile("^other programs had its core"),
    "machine": re.compile("^its machine is busy"),
    "throttled": re.compile("^its CPU limit"),
    "gc": re.compile("^garbage collection"),
    "steal": re.compile(r"\(steal\)$"),
    "sockets": re.compile("no file descriptor or no local port$"),
    "fds": re.compile("file descriptors are open$"),
    "ports": re.compile("local ports are in use"),
    "memory": re.compile("of memory are free$"),
    "network": re.compile("^the instance's network held back"),
}
"""Patterns for the texts of `loadgen.engine.health.selfcheck.unfit_reasons`; a test keeps both in step."""
_HOLDER: Final = re.compile(r"^(?P<where>\S+:\d+ \(.*\)) (?P<what>(?:blocked|held) the event loop for .+)$")
_SPANS: Final = 1_000
_RATE_STEP: Final = 1.1
_FIT_BELOW: Final = 0.05
_FIT_BUT = 1
"""A rate counts as fit if at most 5 % of the intervals at that rate were unfit, or one, by chance."""


def cause_of(reason: str) -> Cause:
    """Return the kind of cause to which a reason for an unfit interval belongs, recognised by the words of its text.

    The result is "other" if the text matches no known pattern.
    """
    return next((cause for cause, pattern in _CAUSES.items() if pattern.search(reason)), "other")


@dataclass(slots=True)
class Holder:
    """A line of the scenario that blocked or held the event loop."""

    intervals: int = 0
    text: str = ""
    """The effect of the line when it was first seen: "held the event loop for 41 % of the time"."""


@dataclass(slots=True)
class Fitness:
    """Fit and unfit intervals of one agent's load generator over the whole run, with reasons and peaks."""

    intervals: int = 0
    unfit: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reasons why intervals were unfit, with their number. Figures inside a reason vary, so at most 20 are kept."""
    notes: dict[str, None] = field(default_factory=dict)
    """Other remarks, each once, oldest first; at most 100."""
    cpu_share_max: float = 0.0
    rss_bytes_max: int = 0
    loop_lag_max_us: int = 0
    generator_lag_p99_max_us: int = 0
    users_max: int = 0
    causes: dict[Cause, int] = field(default_factory=dict)
    """Number of intervals in which each kind of reason occurred."""
    examples: dict[Cause, str] = field(default_factory=dict)
    """The first reason of each kind; for a lag and what explains it, those of the interval with the largest lag p99."""
    holders: dict[str, Holder] = field(default_factory=dict)
    """By file, line and function; at most 20."""
    worst_lag_us: int = 0
    """The largest lag p99 of an unfit interval, generator's or loop's; `worst_rate_per_s` is the rate in it."""
    worst_rate_per_s: float = 0.0
    unfit_cpu_share_sum: float = 0.0
    """CPU time of the unfit intervals, as a share of one core, summed over them; see `unfit_cpu_share`."""
    rate_max_per_s: float = 0.0
    """The most iterations/s started in any interval; `fit_rate_max_per_s` is the most in a fit interval."""
    fit_rate_max_per_s: float = 0.0
    steal_share_max: float = 0.0
    gc_max_us: int = 0
    fds_max: int = 0
    fd_limit: int = 0
    ports_max: int = 0
    port_limit: int = 0
    memory_free_bytes_min: int = 0
    """0 if unknown."""
    unfit_spans_ns: list[tuple[int, int]] = field(default_factory=list)
    """[start, end) of the unfit intervals, adjacent ones joined; the first 1,000."""
    coarse_ns: int = 0
    """Time of the run that is known in joined intervals only."""
    coarse_spans_ns: list[tuple[int, int]] = field(default_factory=list)
    """[start, end) of the joined intervals, adjacent ones joined; the first 1,000."""
    rates: dict[int, list[int]] = field(default_factory=dict)
    """By step of the rate: [intervals, unfit ones]."""
    streams: StreamFitness = field(default_factory=StreamFitness)
    """The reads of streams of AI models, with unfit intervals by metric."""
    reads: ReadFitness = field(default_factory=ReadFitness)
    """The clock of answers and the read lag, in plans that ask for the kernel's clock."""

    def add(self, health: Health, counters: Counters | None = None, start_ns: int = 0, end_ns: int = 0) -> None:
        """Add the health of one interval: count the interval, its reasons and notes, and keep the peak values.

        Args:
            counters: the work done in the interval; the capacity is computed from it. None: unknown.
            start_ns, end_ns: the interval on the run's clock, ns from T0.

        Cost: 3 µs.
        """
        intervals, unfit = health.counted
        self.intervals += intervals
        if intervals > 1:
            self.coarse_ns += end_ns - start_ns
            _add_span(self.coarse_spans_ns, start_ns, end_ns)
        if health.streams is not None:
            self.streams.add(health.streams)
        if health.reads is not None:
            self.reads.add(health.reads)
        self._add_peaks(health)
        if health.notes:
            self._add_notes(health.notes)
        if counters is not None and end_ns > start_ns:
            self._add_rate(counters.iterations_started * NS_PER_S / (end_ns - start_ns), health, intervals, unfit)
        if not unfit:
            return
        self.unfit += unfit
        self.unfit_cpu_share_sum += health.cpu_share * unfit
        for reason in health.unfit:
            if reason in self.reasons or len(self.reasons) < 20:
                self.reasons[reason] = self.reasons.get(reason, 0) + 1
        firsts: dict[Cause, str] = {}
        for reason in health.unfit:
            firsts.setdefault(cause_of(reason), reason)
        for cause, reason in firsts.items():
            self.causes[cause] = self.causes.get(cause, 0) + unfit
            self.examples.setdefault(cause, reason)
        if end_ns > start_ns:
            _add_span(self.unfit_spans_ns, start_ns, end_ns)

    @property
    def unfit_spans(self) -> list[tuple[float, float]]:
        """Return the unfit times as a list of (start, end) in seconds from T0, for the summary."""
        return [(start / NS_PER_S, end / NS_PER_S) for start, end in self.unfit_spans_ns]

    @property
    def unfit_cpu_share(self) -> float | None:
        """Return the mean CPU time of the unfit intervals as a share of one core; None if none was unfit, or unknown.

        A low share says that the generator had little to do and did not get its core in time.
        """
        return self.unfit_cpu_share_sum / self.unfit if self.unfit and self.cpu_share_max else None

    @property
    def capacity_per_s(self) -> float:
        """Return the rate that this generator can drive: the highest iterations/s at which it was fit to measure.

        That is the highest rate up to which at most 5 % of the intervals at each rate were unfit. A run at one rate
        that is unfit now and then has no such rate; the result is then the highest rate of a fit interval, or 0 if no
        interval was fit.
        """
        known = 0.0
        for step in sorted(self.rates):
            intervals, unfit = self.rates[step]
            if unfit > max(_FIT_BUT, _FIT_BELOW * intervals):
                break
            known = min(_RATE_STEP ** (step + 1), self.fit_rate_max_per_s)
        return known or self.fit_rate_max_per_s

    def _add_peaks(self, health: Health) -> None:
        # Compared here, because `max` with two arguments takes three times as long: 2 µs for all of these.
        if health.cpu_share > self.cpu_share_max:
            self.cpu_share_max = health.cpu_share
        if health.rss_bytes > self.rss_bytes_max:
            self.rss_bytes_max = health.rss_bytes
        if health.loop_lag_max_us > self.loop_lag_max_us:
            self.loop_lag_max_us = health.loop_lag_max_us
        if health.generator_lag_p99_us > self.generator_lag_p99_max_us:
            self.generator_lag_p99_max_us = health.generator_lag_p99_us
        if health.users > self.users_max:
            self.users_max = health.users
        if health.steal_share > self.steal_share_max:
            self.steal_share_max = health.steal_share
        if health.gc_max_us > self.gc_max_us:
            self.gc_max_us = health.gc_max_us
        if health.fds > self.fds_max:
            self.fds_max = health.fds
        if health.fd_limit > self.fd_limit:
            self.fd_limit = health.fd_limit
        if health.ports > self.ports_max:
            self.ports_max = health.ports
        if health.port_limit > self.port_limit:
            self.port_limit = health.port_limit
        if health.memory_free_bytes:
            least = self.memory_free_bytes_min or health.memory_free_bytes
            self.memory_free_bytes_min = min(least, health.memory_free_bytes)

    def _add_notes(self, notes: tuple[str, ...]) -> None:
        """Store new notes, and count the intervals in which a line of the scenario blocked the event loop.

        Notes about the same blocking line count as one note, even if the line blocked for another length of time.
        """
        for note in notes:
            if (found := _HOLDER.match(note)) is not None:
                holder = self.holders.get(found["where"])
                if holder is None and len(self.holders) < 20:
                    holder = self.holders[found["where"]] = Holder(text=found["what"])
                    self.notes[note] = None
                if holder is not None:
                    holder.intervals += 1
            elif len(self.notes) < 100:
                self.notes[note] = None

    def _add_rate(self, rate_per_s: float, health: Health, intervals: int, unfit: int) -> None:
        if rate_per_s > self.rate_max_per_s:
            self.rate_max_per_s = rate_per_s
        if not health.unfit:
            if rate_per_s > self.fit_rate_max_per_s:
                self.fit_rate_max_per_s = rate_per_s
        elif (lag_us := health.lag_p99_us) > self.worst_lag_us:
            self.worst_lag_us, self.worst_rate_per_s = lag_us, rate_per_s
            self.examples |= {cause_of(reason): reason for reason in reversed(health.unfit)}
        if rate_per_s > 0:
            step = _step_of(rate_per_s)
            counted = self.rates.get(step)
            if counted is None:
                counted = self.rates[step] = [0, 0]
            counted[0] += intervals
            counted[1] += unfit


@lru_cache(maxsize=1_024)
def _step_of(rate_per_s: float) -> int:
    """Return the step of 10 % to which a rate above 0 belongs. Agents of one load have a few different rates."""
    return floor(log(rate_per_s, _RATE_STEP))


def _add_span(spans: list[tuple[int, int]], start_ns: int, end_ns: int) -> None:
    if spans and spans[-1][0] <= start_ns <= spans[-1][1]:
        spans[-1] = (spans[-1][0], max(spans[-1][1], end_ns))
    elif len(spans) < _SPANS:
        spans.append((start_ns, end_ns))


def _span_text(start_ns: int, end_ns: int) -> str:
    # One decimal, and two more for a span that would otherwise begin and end at the same time.
    digits = 1 if round(start_ns / NS_PER_S, 1) < round(end_ns / NS_PER_S, 1) else 3
    return f"{round(start_ns / NS_PER_S, digits):g} to {round(end_ns / NS_PER_S, digits):g} s"


def spans_text(spans_ns: list[tuple[int, int]], most: int = 3) -> str:
    """Return times as a text such as "3 to 5 s, 9 to 10 s and 2 more"; "" for an empty list.

    spans_ns: (start, end) of each, ns. most: number of spans that are written out.
    """
    if not spans_ns:
        return ""
    texts = [_span_text(start, end) for start, end in spans_ns[:most]]
    more = f" and {len(spans_ns) - most} more" if len(spans_ns) > most else ""
    return ", ".join(texts) + more
