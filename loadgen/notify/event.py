"""The events that a notification is about, as values without secrets and without queries of URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loadgen.outside_text import one_line
from loadgen.redact import Redactor

__all__ = ["PAGES", "Event", "EventKind", "Figure", "plain"]

_MOST_REASONS: Final = 10
_MOST_ROWS: Final = 500
_MOST_CHARACTERS: Final = 400
_QUERY: Final = re.compile(r"(?<=[^\s?])\?[^\s?\"'<>()=]+=[^\s\"'<>)]*")
"""The query of a URL or of a path, from its question mark on."""


class EventKind(StrEnum):
    """The kinds of events, as `events` in `[notify.NAME]` names them."""

    START = "start"
    """The load of a run starts."""
    END = "end"
    """A run has ended as planned, with its verdict."""
    ABORT = "abort"
    """A run has ended before its plan: stopped, killed, aborted by an objective, without agents ..."""
    GATE = "gate"
    """A gate has decided."""
    AGENT_LOST = "agent-lost"
    """A run has lost an agent."""
    REPORT = "report"
    """A weekly page is published."""
    RECOMMENDATION = "recommendation"
    """A recommendation for a release is published."""
    STATUS = "status"
    """The state of a promise has changed: it burns, is not kept, or has recovered."""
    TEST = "test"
    """`loadgen notify test`; every channel sends it."""


PAGES: Final = frozenset((EventKind.REPORT, EventKind.RECOMMENDATION, EventKind.STATUS))
"""The kinds of the programme. Their reasons are sentences, and they may have rows of a table."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a run with the number of values behind it."""

    name: str
    """For example "p95 of checkout"."""
    text: str
    """The value with its unit, as a person reads it: "61.3 ms", "> 300 ms", "115/s"."""
    count: int
    of: str
    """What `count` counts, in the plural: "iterations"."""

    def __str__(self) -> str:
        return f"{self.name}: {self.text} ({self.count:,} {self.of})"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Build it with `of`, which removes secrets and queries from all texts."""

    kind: EventKind
    title: str
    """The scenario and its plan: "checkout.py:plan"; of the programme's kinds, the title of the page."""
    headline: str
    """One sentence without a full stop: "PASSED (exit code 0)"."""
    at: str
    """Time in UTC, RFC 3339."""
    run: str = ""
    """The id of the run; empty for a gate over several runs."""
    result: str = ""
    """passed, failed, incomplete, invalid ...; of a gate PASS, FAIL ...; empty for other events."""
    exit_code: int | None = None
    figures: tuple[Figure, ...] = ()
    reasons: tuple[str, ...] = ()
    more_reasons: int = 0
    """Number of reasons that were left out."""
    rows: tuple[str, ...] = ()
    """The rows of a page's table, one line each, the worst first. Only of the kinds in `PAGES`."""
    more_rows: int = 0
    """Number of rows that were left out."""
    link: str = ""
    """The address of the page, instead of the channel's template."""

    @classmethod
    def of(
        cls,
        kind: EventKind,
        title: str,
        headline: str,
        at: str,
        *,
        run: str = "",
        result: str = "",
        exit_code: int | None = None,
        figures: Iterable[Figure] = (),
        reasons: Iterable[str] = (),
        rows: Iterable[str] = (),
        link: str = "",
        secrets: Iterable[str] = (),
    ) -> Event:
        """Return an event whose texts are short lines without secrets and without queries. secrets: known values."""
        redactor = Redactor(lambda: tuple(secrets))
        lines = tuple(plain(one, redactor) for one in rows)
        every = tuple(dict.fromkeys(plain(one, redactor) for one in reasons))
        return cls(
            kind,
            plain(title, redactor),
            plain(headline, redactor),
            at,
            run,
            result,
            exit_code,
            tuple(Figure(plain(one.name, redactor), one.text, one.count, one.of) for one in figures),
            every[:_MOST_REASONS],
            max(0, len(every) - _MOST_REASONS),
            lines[:_MOST_ROWS],
            max(0, len(lines) - _MOST_ROWS),
            one_line(link, 2_000),
        )


def plain(text: str, redactor: Redactor) -> str:
    """Return a text as one short visible line, with secrets masked and without queries of URLs."""
    return one_line(redactor.text(_QUERY.sub("", text)), _MOST_CHARACTERS)
