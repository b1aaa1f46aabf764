"""The life of a page in a browser, as rows: each navigation of its main frame is one. Pure: it reads no clock.

    event          | no row is open      | a row is open
    navigating     | opens a row         | abandons it, opens another
    answered       | ignored             | keeps the status
    loaded         | ignored             | ends it: ok, or `http 404`
    failed         | ignored             | ends it with the failure; an aborted one is abandoned
    crashed        | ignored             | ends it: `page crashed`
    gone           | ignored             | abandons it: counted as started, and not as finished

An ended row stays the present one until the next document begins: only then are its web vitals complete. A row whose
navigation was superseded, or became a download, has no end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from loadgen.clients.net.target_guard import NOT_ALLOWED
from loadgen.clients.protocol.outcomes import (
    DNS,
    PROTOCOL,
    REDIRECTS,
    REFUSED,
    RESET,
    TIMEOUT,
    TLS,
    UNREACHABLE,
    http_outcome,
)
from loadgen.measure.deltas.series_key import OK

__all__ = ["CRASHED", "ENDED", "NOT_IN_PLAN", "PageRow", "PageRows", "Sink", "outcome_of_text", "row_name"]

CRASHED: Final = "page crashed"
ENDED: Final = "browser ended"
"""The Chromium of the worker ended, for example because the machine had no memory left."""
NOT_IN_PLAN: Final = f"{NOT_ALLOWED}no entry"
_NET: Final = re.compile(r"net::ERR_([A-Z0-9_]+)")
_OUTCOMES: Final[Mapping[str, str]] = {
    "CONNECTION_REFUSED": REFUSED,
    **dict.fromkeys(("CONNECTION_RESET", "CONNECTION_CLOSED", "EMPTY_RESPONSE", "CONNECTION_ABORTED"), RESET),
    **dict.fromkeys(("TIMED_OUT", "CONNECTION_TIMED_OUT"), TIMEOUT),
    **dict.fromkeys(("NAME_NOT_RESOLVED", "NAME_RESOLUTION_FAILED"), DNS),
    **dict.fromkeys(("ADDRESS_UNREACHABLE", "NETWORK_UNREACHABLE", "INTERNET_DISCONNECTED"), UNREACHABLE),
    **dict.fromkeys(
        (
            *("INVALID_HTTP_RESPONSE", "RESPONSE_HEADERS_TRUNCATED", "CONTENT_LENGTH_MISMATCH"),
            *("INCOMPLETE_CHUNKED_ENCODING", "INVALID_CHUNKED_ENCODING", "CONTENT_DECODING_FAILED"),
        ),
        PROTOCOL,
    ),
    "TOO_MANY_REDIRECTS": REDIRECTS,
}
_ABORTED: Final = "ABORTED"
_NO_BODY: Final = "net::ERR_HTTP_RESPONSE_CODE_FAILURE"
"""Of an answer with a status of 400 or above and no body, for which Chromium shows a page of its own."""
_VITALS: Final = {"LCP": "lcp", "INP": "inp", "CLS": "cls", "FCP": "fcp", "TTFB": "ttfb"}
_MOST_CLS: Final = 1_000.0
_MOST_MS: Final = 3_600_000.0


def outcome_of_text(text: str) -> str:
    """Return the outcome for a text of Chromium or Playwright, such as "net::ERR_CONNECTION_REFUSED"; "" if unknown.

    "aborted" means that the navigation was superseded, and has no outcome.
    """
    found = _NET.search(text)
    if found is None:
        if "crashed" in text:
            return CRASHED
        return ENDED if "has been closed" in text else ""
    code = found[1]
    if code == _ABORTED:
        return "aborted"
    if code.startswith(("SSL_", "CERT_", "BAD_SSL")):
        return TLS
    if code.startswith(("HTTP2_", "QUIC_")):
        return PROTOCOL
    return _OUTCOMES.get(code, f"browser {code.lower()}")


def row_name(url: str) -> str:
    """Return the name of the row of a page: "page /cart", without the query."""
    return f"page {urlsplit(url).path or '/'}"


@dataclass(slots=True, eq=False)
class PageRow:
    """One navigation. Times are `perf_counter_ns`. `vitals`: ms by metric, and the score of `cls`."""

    url: str
    begun_ns: int
    status: int = 0
    outcome: str = ""
    detail: str = ""
    sent: tuple[str, ...] = ()
    """Headers of the request, "name: value", if its answer is an error."""
    received: tuple[str, ...] = ()
    """Those of the answer."""
    vitals: dict[str, float] = field(default_factory=dict)


class Sink(Protocol):
    """Receives what happens to the rows of a page."""

    def begun(self, row: PageRow) -> None: ...

    def ended(self, row: PageRow, at_ns: int) -> None:
        """Record a row with its outcome."""

    def gone(self, row: PageRow) -> None:
        """Leave a row without an end."""

    def left(self, row: PageRow) -> None:
        """Record the web vitals of an ended row, whose page was left."""


class PageRows:
    """The rows of one page of a browser; see the module."""

    def __init__(self, sink: Sink, is_allowed: Callable[[str], bool] = lambda _: True) -> None:
        self._sink, self._is_allowed = sink, is_allowed
        self._row: PageRow | None = None
        """The latest navigation."""
        self.is_open = False
        """Whether it has not ended."""
        self._shown: PageRow | None = None
        """The navigation whose document is shown."""
        self._id = ""
        self.has_crashed = False

    def navigating(self, url: str, at_ns: int) -> None:
        """Open a row. Redirects of a navigation belong to its row: do not report them."""
        self.gone()
        self._row, self.is_open = PageRow(url, at_ns), True
        self._sink.begun(self._row)

    def answered(self, status: int) -> None:
        if self._row is not None and self.is_open:
            self._row.status = status

    def heads(self, sent: tuple[str, ...], received: tuple[str, ...]) -> None:
        """Keep the headers of the open row's request and answer."""
        if self._row is not None and self.is_open:
            self._row.sent, self._row.received = sent, received

    def loaded(self, at_ns: int) -> None:
        """End the open row. Without an answer, it was the document before that has loaded."""
        if self._row is not None and self._row.status:
            status = self._row.status
            self.ends_as(http_outcome(status) if status >= 400 else OK, "", at_ns)

    def failed(self, url: str, text: str, at_ns: int) -> None:
        """End the open row. url: of the last hop. text: of Chromium, with "net::ERR_..."."""
        outcome = self.outcome_of(text) or "browser failed"
        if outcome == "aborted":
            self.gone()
        else:
            is_fenced = outcome == DNS and not self._is_allowed(url)
            self.ends_as(NOT_IN_PLAN if is_fenced else outcome, text, at_ns)

    def outcome_of(self, text: str) -> str:
        """Return the outcome of the latest navigation for a text, as `outcome_of_text`."""
        if _NO_BODY in text and self._row is not None and self._row.status:
            return http_outcome(self._row.status)
        return outcome_of_text(text)

    def ends_as(self, outcome: str, detail: str, at_ns: int) -> None:
        """End the row that is open, if one is, with an outcome."""
        if self._row is not None and self.is_open:
            self.is_open = False
            self._row.outcome, self._row.detail = outcome, detail
            self._sink.ended(self._row, at_ns)

    def crashed(self, at_ns: int) -> None:
        self.has_crashed = True
        self.ends_as(CRASHED, "the process of the page ended", at_ns)
        self._shown = None

    def gone(self) -> None:
        """Abandon the row that is open, if one is."""
        if self._row is not None and self.is_open:
            row, self._row, self.is_open = self._row, None, False
            if row is self._shown:
                self._shown = None
            self._sink.gone(row)

    # -- what the page itself reports -------------------------------------------------------------

    def reported(self, report: object) -> None:
        """Take one report of the script in the page. Anything may be in it, because the page can send reports, too."""
        if not isinstance(report, dict):
            return
        of, name, value = report.get("id"), report.get("name"), report.get("value")
        if not isinstance(of, str) or not isinstance(name, str):
            return
        if name == "began":
            self._began(of)
            return
        metric = _VITALS.get(name)
        if metric is None or of != self._id or self._shown is None or isinstance(value, bool):
            return
        if isinstance(value, int | float) and 0 <= value <= (_MOST_CLS if metric == "cls" else _MOST_MS):
            self._shown.vitals[metric] = float(value)

    def _began(self, of: str) -> None:
        """Note that the document of the latest row has begun; with it, the document before was left."""
        if self._row is not None and self._row is not self._shown:
            self.leave()
            self._shown, self._id = self._row, of

    def leave(self) -> None:
        """Record the vitals of the shown document, because it was left. One that did not load has none."""
        shown, self._shown = self._shown, None
        if shown is not None and shown.outcome:
            self._sink.left(shown)
