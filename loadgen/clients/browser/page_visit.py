"""One user's visit to pages in a browser: `async with user.browser("/") as page:`.

Playwright's events move the rows (`page_rows.py`); here they are recorded by the user's meter. At the end of the block
the page is left, as by a person who closes it, and only then are its web vitals recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from random import getrandbits
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from loadgen.clients.browser.browsers import Browsers, Launch, PageCounts
from loadgen.clients.browser.chromium import browser_failure
from loadgen.clients.browser.host_rules import Place, is_allowed
from loadgen.clients.browser.page_rows import CRASHED, NOT_IN_PLAN, PageRow, PageRows, row_name
from loadgen.clients.browser.shared_cookies import for_browser, store
from loadgen.clients.browser.vitals_script import BINDING, script
from loadgen.clients.protocol.outcomes import DNS, TIMEOUT
from loadgen.clients.request.tracing import Tracer
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed, UsageError
from loadgen.measure.deltas.series_key import CLS_NS, OK, Metric
from loadgen.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from loadgen.clients.browser.canned_pages import CannedPages
    from loadgen.clients.browser.chromium import BrowserContext, Page, Request, Response, StorageState

__all__ = ["PageName", "PageSettings", "PageVisit", "check_page_name"]

PageName = str | Callable[[str], str] | None

"""The name of the first row; or a function that returns the name of each row from its URL; None: `page /path`."""
TraceIds = tuple[str, str, bool]
"""The trace, our span, and whether it is sampled; ("", "", False) without tracing."""
_LEAVE_S: Final = 5.0
_FIRST_ERROR: Final = 400
_METRICS: Final[tuple[tuple[str, Metric], ...]] = (
    ("ttfb", "ttfb"),
    ("fcp", "fcp"),
    ("lcp", "lcp"),
    ("inp", "inp"),
    ("cls", "cls"),
)


def check_page_name(name: object) -> None:
    """Raise UsageError unless `name=` of `user.browser` is a text that is not empty, a function or None."""
    if name is not None and not callable(name) and not (isinstance(name, str) and name):
        hint = 'write name="page (start)", or a function of the URL'
        raise UsageError(f"browser: name={name!r} is not a name", hint=hint)


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The settings that all visits of a plan share.

    places: the servers that pages may reach. canned: answers the requests of pages in a trial; None in runs.
    """

    base_url: str
    limit_ns: int
    verify: bool
    places: frozenset[Place]
    launch: Launch
    tracer: Tracer | None = None
    canned: CannedPages | None = None


class PageSample:
    """The measurements of one page, which the meter records (`user_meter.Sample`)."""

    __slots__ = (
        "_row",
        "asked_ns",
        "done_ns",
        "first_byte_ns",
        "is_sampled",
        "outcome",
        "sent_ns",
        "series",
        "size_bytes",
        "span",
        "trace",
    )

    method = "GET"

    def __init__(self, row: PageRow, series: RequestSeries, done_ns: int, ids: TraceIds) -> None:
        self._row, self.series = row, series
        self.trace, self.span, self.is_sampled = ids
        self.asked_ns = self.sent_ns = row.begun_ns
        self.done_ns = done_ns
        self.first_byte_ns = 0  # the page itself measures it, so a meter with `ttfb` must not do it again
        self.outcome, self.size_bytes = row.outcome, 0

    @property
    def route(self) -> PageSample:
        """Return what a span needs: `url` and `method`."""
        return self

    @property
    def url(self) -> str:
        return self._row.url

    @property
    def status_code(self) -> int:
        return self._row.status

    def exchange(self) -> tuple[str, str]:
        """Return the request and its answer as texts, without the bodies."""
        row = self._row
        sent = "\n".join((f"GET {row.url}", *row.sent))
        status = f"HTTP {row.status}" if row.status else ""
        return sent, "\n".join(filter(None, (status, *row.received, row.detail)))


def _lines(headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in headers.items())


class PageVisit:
    """The context manager behind `User.browser`, and the sink of its page's rows.

    storage: the cookies and local storage with which it starts; None: none. jar: the cookies of `user.http`, which the
    browser shares; None: it has its own.
    """

    def __init__(
        self,
        browsers: Browsers,
        meter: Meter,
        settings: PageSettings,
        url: str,
        name: PageName = None,
        storage: StorageState | None = None,
        jar: CookieJar | None = None,
    ) -> None:
        check_page_name(name)
        self._browsers, self._meter, self._settings, self._url, self._name = browsers, meter, settings, url, name
        self._storage, self._jar = storage, jar
        self._given: list[dict[str, Any]] = []
        """The cookies of `user.http` that the browser got."""
        self._rows = PageRows(self, self._is_allowed)
        self._series: dict[PageRow, RequestSeries] = {}
        """The series of the rows whose vitals are not recorded yet."""
        self._is_first = True
        self._context: BrowserContext | None = None
        self._page: Page | None = None
        self._ids: TraceIds = ("", "", False)
        """The ids of the next row. The first page has the span that the headers of the block name."""
        self._idle = asyncio.Event()
        """Set while no navigation is under way."""
        self._last = ""
        """The outcome of the last row, if it failed without a complete answer."""
        self._broken = asyncio.Event()
        """Set if an answer began and broke off."""
        self._fault: Exception | None = None
        """The first error of the scenario's function `name=`, or of a request that has no canned reply. Both happen in
        events, so the block raises it.
        """
        self._is_leaving = False

    async def __aenter__(self) -> Page:
        self._meter.settle()
        settings = self._settings
        chromium = await self._browsers.take(self._meter.recorder, settings.launch)
        try:
            self._context = context = await chromium.context(
                settings.base_url,
                verify=settings.verify,
                limit_ms=settings.limit_ns / NS_PER_MS,
                storage=self._storage,
            )
            if self._jar is not None:
                self._given = for_browser(self._jar, sorted({place.host for place in settings.places}))
                await context.add_cookies(self._given)  # type: ignore[arg-type]  # of Playwright's TypedDict
            if settings.tracer is not None:
                await context.set_extra_http_headers(self._trace_headers(settings.tracer))
            if settings.canned is not None:
                await settings.canned.attach(context, self._failed)
            await context.expose_binding(BINDING, lambda source, report: self._reported(source["page"], report))
            await context.add_init_script(script())
            self._page = page = await context.new_page()
            self._listen(page)
            await self._go(page)
            if self._fault is not None:
                raise self._fault
        except BaseException as error:
            await self._close(error)
            self._raise_fault(error)
            self._translate(error)
            raise
        return page

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error)
        self._raise_fault(error)
        if error is not None:
            self._translate(error)
        elif self._rows.has_crashed:
            raise RequestFailed(CRASHED, f"{self._url}: the process of the page ended")

    def _raise_fault(self, error: BaseException | None) -> None:
        """Raise the scenario's own error, if there is one. A failure of the page is then only what followed from it."""
        if self._fault is not None and self._fault is not error and (error is None or browser_failure(error)[0]):
            raise self._fault from error

    async def _go(self, page: Page) -> None:
        """Open the first page. If its answer breaks off, end at once: Chromium would wait for the load event.

        Raises:
            RequestFailed: the answer broke off. Exception: of Playwright.
        """
        going = asyncio.ensure_future(page.goto(self._url))
        breaking = asyncio.ensure_future(self._broken.wait())
        try:
            await asyncio.wait((going, breaking), return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                raise RequestFailed(self._last, f"{self._url}: the answer broke off")
            await going
        finally:
            breaking.cancel()
            if going.cancel():
                await asyncio.wait((going,))

    # -- the end ----------------------------------------------------------------------------------

    async def _close(self, error: BaseException | None) -> None:
        """Leave the page, record its vitals, close the context, and make the browser free."""
        try:
            page = self._page
            is_cut_off = isinstance(error, asyncio.CancelledError)
            if page is not None and not is_cut_off:
                await self._leave(page, error)
            if self._jar is not None and self._context is not None and not is_cut_off:
                await self._take_cookies(self._jar, self._context)
            self._rows.gone()
            if not is_cut_off:  # its page was not left, so its vitals are not complete
                self._rows.leave()
        finally:
            context, self._context = self._context, None
            if context is None:
                self._browsers.give()
            else:
                # A cancelled iteration must not leave its page behind, so the closing goes on.
                closing = asyncio.ensure_future(self._close_context(context))
                await asyncio.shield(closing)

    async def _take_cookies(self, jar: CookieJar, context: BrowserContext) -> None:
        """Give `user.http` the cookies that the pages have set or deleted."""
        with suppress(Exception):  # Chromium may have ended
            found: Any = await asyncio.wait_for(context.cookies(), _LEAVE_S)
            store(jar, self._given, found)

    async def _close_context(self, context: BrowserContext) -> None:
        try:
            with suppress(Exception):  # Chromium may have ended
                await asyncio.wait_for(context.close(), _LEAVE_S)
        finally:
            self._browsers.give()

    async def _leave(self, page: Page, error: BaseException | None) -> None:
        if error is None and self._rows.is_open and not self._rows.has_crashed:
            await self._wait_for_load()
        is_ours, is_late = (False, False) if error is None else browser_failure(error)
        if is_late:
            self._rows.ends_as(TIMEOUT, str(error).splitlines()[0], perf_counter_ns())
        elif is_ours and (outcome := self._rows.outcome_of(str(error))) and outcome != "aborted":
            self._rows.ends_as(outcome, str(error).splitlines()[0], perf_counter_ns())
        if self._rows.has_crashed:
            return
        self._rows.gone()  # leaving the page has no row
        self._is_leaving = True
        for _ in range(2):  # the error page of a failed navigation may interrupt the first
            with suppress(Exception):  # the rows keep what the page had reported; its context is closed next
                await asyncio.wait_for(page.goto("about:blank"), _LEAVE_S)
                break

    async def _wait_for_load(self) -> None:
        """Wait until the navigation under way has ended: the journey clicked, and left the block at once."""
        try:
            await asyncio.wait_for(self._idle.wait(), self._settings.limit_ns / NS_PER_S)
        except TimeoutError:
            self._rows.ends_as(TIMEOUT, "the page did not load in time", perf_counter_ns())

    def _translate(self, error: BaseException) -> None:
        """Raise `RequestFailed` for a failure of the page that an exception of Playwright reports.

        An error in the journey, such as an invalid selector, stays as it is.
        """
        is_ours, is_late = browser_failure(error)
        if not is_ours:
            return
        first = str(error).strip().splitlines()[0]
        outcome = TIMEOUT if is_late else CRASHED if self._rows.has_crashed else self._rows.outcome_of(first)
        # The error page of a failed navigation may interrupt it; then the text has no reason of its own.
        is_vague = not outcome and "interrupted by another navigation" in first
        # After an answer that broke off, Playwright waits for the load event until its time-out.
        has_broken = is_late and bool(self._last) and first.startswith("Page.goto")
        if is_vague or has_broken or (self._last == NOT_IN_PLAN and outcome == DNS):
            outcome = self._last
        if outcome == NOT_IN_PLAN:
            first = f"a page may only reach the targets of the plan: add this server to targets= ({first})"
        if outcome and outcome != "aborted":
            raise RequestFailed(outcome, first) from error

    # -- Playwright's events ----------------------------------------------------------------------

    def _listen(self, page: Page) -> None:
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)
        page.on("load", lambda _: self._rows.loaded(perf_counter_ns()))
        page.on("crash", lambda _: self._rows.crashed(perf_counter_ns()))

    def _is_row(self, request: Request) -> bool:
        page = self._page
        return page is not None and request.is_navigation_request() and request.frame == page.main_frame

    def _on_request(self, request: Request) -> None:
        if not self._is_allowed(request.url):
            PageCounts.of(self._meter.recorder).blocked.add()
        if self._is_row(request) and request.redirected_from is None and not self._is_leaving:
            self._rows.navigating(request.url, perf_counter_ns())

    def _on_response(self, response: Response) -> None:
        if self._is_row(response.request):
            self._rows.answered(response.status)
            if response.status >= _FIRST_ERROR:
                self._rows.heads(_lines(response.request.headers), _lines(response.headers))

    def _on_failed(self, request: Request) -> None:
        if self._is_row(request):
            self._rows.failed(request.url, request.failure or "", perf_counter_ns())

    def _reported(self, page: object, report: object) -> None:
        if page == self._page:
            self._rows.reported(report)

    def _is_allowed(self, url: str) -> bool:
        return is_allowed(url, self._settings.places)

    def _trace_headers(self, tracer: Tracer) -> dict[str, str]:
        lines, trace, span, is_sampled = tracer.lines(self._meter)
        self._ids = trace, span, is_sampled
        pairs: Iterable[list[str]] = (line.split(": ", 1) for line in lines.decode().split("\r\n") if line)
        return {name: value for name, value in pairs}

    # -- the rows (`Sink`) ------------------------------------------------------------------------

    def begun(self, row: PageRow) -> None:
        self._idle.clear()
        series = self._series[row] = self._series_of(row)
        if series.watch is not None:
            series.watch.begun(row.begun_ns)

    def _series_of(self, row: PageRow) -> RequestSeries:
        try:
            name = self._named(row)
        except Exception as error:  # noqa: BLE001  of the scenario's function; the block raises it
            self._failed(error)
            name = row_name(row.url)
        return self._meter.ask(name)

    def _failed(self, error: Exception) -> None:
        self._fault = self._fault or error

    def _named(self, row: PageRow) -> str:
        is_first, self._is_first = self._is_first, False
        if callable(self._name):
            name = self._name(row.url)
            if not isinstance(name, str) or not name:
                hint = "return a text that is not empty"
                raise UsageError(f"browser: the function of name= returned {name!r}", hint=hint)
            return name
        return self._name if self._name is not None and is_first else row_name(row.url)

    def ended(self, row: PageRow, at_ns: int) -> None:
        self._idle.set()
        has_failed = row.outcome != OK and not row.outcome.startswith("http ")
        self._last = row.outcome if has_failed else ""
        if has_failed and row.status:
            self._broken.set()
        # Without an answer no document follows, so no vitals.
        series = self._series[row] if row.status else self._series.pop(row)
        ids = self._ids
        self._ids = ids[0], f"{getrandbits(64) or 1:016x}", ids[2]
        self._meter.hold(PageSample(row, series, at_ns, ids))
        self._meter.settle()

    def gone(self, row: PageRow) -> None:
        self._idle.set()
        series = self._series.pop(row)
        if series.watch is not None:
            series.watch.gone(row.begun_ns)

    def left(self, row: PageRow) -> None:
        series = self._series.pop(row)
        for name, metric in _METRICS:
            value = row.vitals.get(name)
            if value is None:
                continue
            value_ns = round(value * (CLS_NS if metric == "cls" else NS_PER_MS))
            series.phase(metric, value_ns, row.outcome)  # type: ignore[arg-type]  # one of its metrics
            if series.watch is not None and metric in series.watch.metrics:
                series.watch.timed(metric, row.begun_ns, value_ns, row.outcome)
