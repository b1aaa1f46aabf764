"""Requests to a source of counts, and its answers: slices, or a fault. Pure.

A fault (`NoCounts`) means that the counts are missing. It never means that there were no errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from loadgen.outside_text import one_line
from loadgen.probes.prometheus.selectors import BadSelector, parse_selector
from loadgen.programme.ledger.slices import Slice

__all__ = ["Asked", "Asker", "NoCounts", "Pulled", "Reply", "fault_of", "selector_in"]

_WAIT_MOST_S: Final = 600.0
_STATUS: Final = {
    401: "the credentials are missing or wrong",
    403: "these credentials have no right to read it",
    404: "nothing is at this URL: check its path",
    429: "too many requests",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which counts are wanted: of one objective, in slices of `width` seconds from `start` to `end` (Unix time, s).

    total: what counts all requests, in the language of the source. Exactly one of good and bad is not empty.
    theirs: the id of an SLO that the source itself computes, whose figure is shown beside ours; "": none.
    """

    slo: str
    total: str
    good: str
    bad: str
    start: int
    end: int
    width: int
    theirs: str = ""

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """Return (role, query) of each query: "total", and "good" or "bad"."""
        return ("total", self.total), (("good", self.good) if self.good else ("bad", self.bad))

    @property
    def edges(self) -> range:
        """Return the edges of the slices, Unix time in s. Slices begin at multiples of their width."""
        first = -(-self.start // self.width) * self.width
        return range(first, self.end // self.width * self.width + 1, self.width)


@dataclass(frozen=True, slots=True)
class NoCounts:
    """Why counts are missing: one line without secrets. wait_s: how long the source asked to wait; 0: it did not.

    may_pass: whether the same request may succeed later.
    """

    text: str
    wait_s: float = 0.0
    may_pass: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Pulled:
    """The slices that a source returned. faults, notes: sentences. Time without a slice is missing.

    has_answered: whether the source gave an answer that is no error, or its file was read.
    """

    slices: tuple[Slice, ...] = ()
    faults: tuple[NoCounts, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0
    has_answered: bool = False


class Asker(Protocol):
    """An open source of any kind."""

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices that were asked for. Missing slices have a sentence in `faults`."""

    def close(self) -> None:
        """Close its connections."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP. headers: names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def fault_of(reply: Reply) -> NoCounts | None:
    """Return the fault of an answer whose status or kind shows that it has no counts; None: its body has to be parsed.

    Statuses 400 and 422 pass, since their bodies have the reason.
    """
    if reply.status not in (200, 400, 422):
        why = _STATUS.get(reply.status, "")
        wait_s = _wait_s(reply.headers.get("retry-after", "")) if reply.status in (429, 503) else 0.0
        wait = f"; the server asks to wait {wait_s:g} s" if wait_s else ""
        text = f"the server returned http {reply.status}{f': {why}' if why else ''}{wait}"
        return NoCounts(text, wait_s, reply.status == 429 or reply.status >= 500)
    begin = reply.body[:200].lstrip()[:1]
    if not begin:
        return NoCounts("the answer is empty", may_pass=True)
    if begin == b"<":
        return NoCounts(
            "the answer is HTML, not JSON: check the path of the URL, and whether a login page is before it"
        )
    return None


def selector_in(query: str) -> str:
    """Return the selector of counters in a query: of `x`, `sum(x)`, `sum(rate(x[5m]))` or `sum by (job) (x)` it is x.

    The functions around it are not needed, since differences of the counters themselves are summed.

    Raises:
        ValueError: the query has something else; the text of the error is a sentence.
    """
    text = " ".join(query.split())
    for pattern in _AROUND:
        while (found := pattern.fullmatch(text)) is not None:
            text = found[1].strip()
    text = _RANGE.sub("", text)
    try:
        return parse_selector(text).text
    except BadSelector as error:
        raise ValueError(
            f"{one_line(query, 120)!r} is not a plain counter: it {error}; write a selector such as"
            ' http_requests_total{job="shop"}, or sum(rate(...)) of one'
        ) from None


_BY: Final = r" ?(?:by|without) ?\([^()]*\)"
_AROUND: Final = tuple(
    re.compile(text)
    for text in (rf"sum ?\((.*)\){_BY}", rf"sum(?:{_BY})? ?\((.*)\)", r"(?:rate|increase|irate) ?\((.*)\)")
)
_RANGE: Final = re.compile(r" ?\[[^\[\]]*\]$")


def _wait_s(text: str) -> float:
    """Return the seconds of a Retry-After header; 0 for dates and other texts."""
    return min(_WAIT_MOST_S, float(text)) if re.fullmatch(r"\d{1,9}", text.strip()) else 0.0
