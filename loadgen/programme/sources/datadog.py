"""Asks Datadog for slices: one call for each objective and range, and one more for Datadog's own figure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import sum_of
from loadgen.programme.sources.asked import Asked, NoCounts, Pulled, Reply
from loadgen.programme.sources.count_points import Sliced, sliced
from loadgen.programme.sources.datadog_answers import (
    RESOLUTION,
    history_path,
    parse_history,
    parse_points,
    query_path,
    wait_s,
)
from loadgen.programme.sources.http_calls import WAIT_MOST_S, HttpCalls

__all__ = ["DatadogSource"]

T = TypeVar("T")


@dataclass(slots=True)
class DatadogSource:
    """One site of Datadog.

    url: https://api.datadoghq.com, or that of another site. headers: with both keys. secrets: values that no message
    may contain. absent_is_zero: take an absent point as zero requests. resolution: see `bracket`. sleep, draw: for
    tests.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    ca: Path | None = None
    absent_is_zero: bool = False
    resolution: float = RESOLUTION
    limit_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    _calls: HttpCalls = field(init=False)
    _wait_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._calls = HttpCalls(self.url, self.headers, self.secrets, self.ca, self.limit_s, self.sleep, self.draw)

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices of one objective. Missing slices have a sentence in `faults`."""
        sent, answered = self._calls.sent, self._calls.answered
        found = self._asked(query_path(asked, self.resolution), lambda reply: parse_points(reply, asked))
        if isinstance(found, NoCounts):
            return Pulled((), (found,), (), self._calls.sent - sent, self._calls.answered > answered)
        evidence = f"{self._calls.shown}: {' and '.join(f'{role} {query}' for role, query in asked.roles)}"
        absent = self.absent_is_zero
        made = sliced(asked, found.total, found.part, one_line(evidence, 400), absent_is_zero=absent)
        notes = (*found.notes, *made.notes)
        if asked.theirs and made.slices:
            notes = (*notes, self._theirs(asked, made))
        return Pulled(made.slices, made.faults, notes, self._calls.sent - sent, True)

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def _theirs(self, asked: Asked, ours: Sliced) -> str:
        """Return a sentence with Datadog's own figure beside ours."""
        found = self._asked(history_path(asked), parse_history)
        name = f"Datadog's own figure of the SLO {asked.theirs}"
        if isinstance(found, NoCounts):
            return f"{name} is missing: {found}"
        if found.percent is None:
            return f"{name} has no data in this time"
        counts = sum_of(ours.slices)
        mine = f"{100 * counts.good / counts.total:.4f} %" if counts.total else "without traffic"
        why = "its corrections are left out, and its points may be rolled up"
        if found.kind == "time_slice":
            why = "it counts time, and time without data counts as good there"
        return f"{name} in this time is {found.percent:.4f} %, ours is {mine}; {why}"

    def _asked(self, path: str, parse: Callable[[Reply], T | NoCounts]) -> T | NoCounts:
        """Send a request when the limit of the account allows it."""
        if self._wait_s > WAIT_MOST_S:
            return NoCounts(f"the limit of calls is reached for {self._wait_s:g} s: pull again later")
        if self._wait_s:
            self.sleep(self._wait_s)

        def parsed(reply: Reply) -> T | NoCounts:
            self._wait_s = wait_s(reply) if reply.status == 200 else 0.0
            return parse(reply)

        self._wait_s = 0.0
        return self._calls.parsed(path, parsed)
