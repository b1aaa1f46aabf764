"""The protocol of trace backends: their answers, the calls that a look-up needs, and how often it is repeated.

A backend looks traces up by id and never searches: a search returns "the first N results", which is no sample.
`alternated` mixes the ids of slow and baseline requests, so that a look-up that ends early has read both.

Spans arrive late: exporters send them in batches, and stores index them later. `read_until_still` therefore asks again
for missing traces until the number of found ones stands still, or until the time for waiting is used up.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil
from typing import Final, Protocol

from loadgen.errors import IncompleteError, UsageError
from loadgen.outside_text import one_line
from loadgen.traces.model import Trace
from loadgen.units import quantity

__all__ = [
    "Answer",
    "Backend",
    "BackendRefused",
    "CallPlan",
    "Found",
    "Missing",
    "OnProgress",
    "Progress",
    "Refused",
    "alternated",
    "no_progress",
    "normal_id",
    "picked",
    "read_until_still",
]

EXPORT_S: Final = 6.0
"""The SDKs of OpenTelemetry export spans every 5 s by default. Before this age of a run, its last spans are missing."""
LATE_S: Final = 600.0
"""A trace that is missing this long after the run will not arrive any more."""
_PAUSES_S: Final = (2.0, 3.0, 5.0, 8.0, 13.0, 15.0)
_STILL_ROUNDS: Final = (4, 2)
"""The number of rounds without a new trace that end the waiting: if no trace was found at all, and otherwise."""
_HEX: Final = re.compile(r"[0-9a-f]{1,32}")
_XRAY: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")


class BackendRefused(IncompleteError):
    """The backend answers no look-up at all: a permission is missing, a quota is used up, or it cannot be reached."""


@dataclass(frozen=True, slots=True)
class Found:
    """The spans of a trace, attributes redacted."""

    trace: Trace

    @property
    def is_cut(self) -> bool:
        """Whether the backend returned only some of the trace's spans."""
        return self.trace.is_cut


@dataclass(frozen=True, slots=True)
class Missing:
    """The backend has no such trace, or does not have it yet."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The backend did not return this trace, although it may exist. reason: one line, without secrets."""

    reason: str


Answer = Found | Missing | Refused


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a look-up. note: the reason of a pause, or something to know about the answers; else empty."""

    done: int
    of: int
    note: str = ""


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Ignore a progress."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """The calls that a look-up needs, shown before the first one is made.

    per_minute: most calls a minute that the backend permits; None: it has no limit that we know. noun: what a call is.
    """

    traces: int
    calls: int
    per_minute: int | None = None
    noun: str = "call"

    @property
    def least_s(self) -> float:
        """The time that the limit makes necessary, s."""
        return 60.0 * self.calls / self.per_minute if self.per_minute else 0.0

    def __str__(self) -> str:
        traces = quantity(self.traces, "trace")
        if self.per_minute:
            long = f"{ceil(self.least_s)} s" if self.least_s < 60 else f"{round(self.least_s / 60, 1):g} min"
            return f"{traces}, {long} at {self.per_minute} a minute"
        return traces if self.calls == self.traces else f"{traces} in {quantity(self.calls, self.noun)}"


class Backend(Protocol):
    """Looks traces up by id."""

    def plan(self, number: int) -> CallPlan:
        """Return the calls that a look-up of so many traces needs."""

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        """Yield each id with the backend's answer, once, in about the order of `ids`. Calls are made meanwhile.

        ids: 32 lower-case hex digits each.

        Raises:
            BackendRefused: the backend answers no look-up. Ids that were yielded before keep their answers.
        """

    def close(self) -> None:
        """Close the connections."""


def normal_id(text: str) -> str:
    """Return a trace id as 32 lower-case hex digits, from any notation: upper case, 64-bit, X-Ray's with dashes.

    Raises:
        UsageError: the text is not a trace id.
    """
    plain = text.strip().lower()
    if (found := _XRAY.fullmatch(plain)) is not None:
        plain = found[1] + found[2]
    if _HEX.fullmatch(plain) is None or not plain.strip("0"):
        raise UsageError(f"{one_line(text, 60)!r} is not a trace id", hint="a trace id has up to 32 hex digits")
    return plain.zfill(32)


def alternated(slow: Sequence[str], baseline: Sequence[str]) -> list[str]:
    """Return each id once: a slow id, a baseline id, the next slow id, and so on. Both lists keep their order."""
    mixed = (one for pair in zip_longest(slow, baseline) for one in pair if one is not None)
    return list(dict.fromkeys(mixed))


def picked(traces: Sequence[Trace], trace_id: str, *, is_cut: bool = False) -> Answer:
    """Return the answer for `trace_id` from the traces of a response. Spans of other traces are dropped.

    A trace of which only the lower 64 bits are known counts as the same: B3 and Datadog may shorten ids.
    """
    short = trace_id[16:].zfill(32)
    same = [one for one in traces if one.id in (trace_id, short) and one.spans]
    if not same:
        others = sum(len(one.spans) for one in traces)
        return Refused(f"the backend returned {quantity(others, 'span')} of another trace") if others else Missing()
    spans = tuple(span for one in same for span in one.spans)
    return Found(Trace(trace_id, spans, is_cut or any(one.is_cut for one in same)))


def read_until_still(
    backend: Backend,
    ids: Sequence[str],
    wait_s: float,
    on_progress: OnProgress = no_progress,
    *,
    ended_ago_s: float = 0.0,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[str, Answer]]:
    """Yield each id with its last answer, found traces at once. Ask again for missing ones until none arrives any more.

    Args:
        wait_s: most time for pauses and further rounds after the first, s.
        ended_ago_s: the age of the run. Missing traces of a run that ended 10 minutes ago are final at once.
        pause, clock: for tests.

    Raises:
        BackendRefused: as `Backend.read`.
    """
    began_s = clock()
    if 0 <= ended_ago_s < EXPORT_S and wait_s:
        early_s = min(EXPORT_S - ended_ago_s, wait_s)
        on_progress(Progress(0, len(ids), f"waiting {early_s:.0f} s for the last spans of the run"))
        pause(early_s)
    missing: list[str] = []
    found = 0
    for one, answer in backend.read(ids, on_progress):
        if isinstance(answer, Missing):
            missing.append(one)
        else:
            found += isinstance(answer, Found)
            yield one, answer
    still, rounds = 0, 0
    while missing and ended_ago_s < LATE_S and still < _STILL_ROUNDS[found > 0]:
        pause_s = _PAUSES_S[min(rounds, len(_PAUSES_S) - 1)]
        if clock() - began_s + pause_s > wait_s:
            break
        note = f"{quantity(len(missing), 'trace')} not there yet: asking again in {pause_s:g} s"
        on_progress(Progress(len(ids) - len(missing), len(ids), note))
        pause(pause_s)
        rounds, before = rounds + 1, len(missing)
        again, missing = missing, []
        for one, answer in backend.read(again):
            if isinstance(answer, Missing):
                missing.append(one)
            else:
                found += isinstance(answer, Found)
                yield one, answer
        still = 0 if len(missing) < before else still + 1
    for one in missing:
        yield one, Missing()
