"""Reads a page of metrics, as the kind "metrics" of a probe."""

from __future__ import annotations

from loadgen.probes.metrics_page.exposition import BadPage, parse
from loadgen.probes.metrics_page.scrape import Scraper
from loadgen.probes.metrics_page.selection import names_wanted, select
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.reader import Note, NotRead, Reading, Tools
from loadgen.probes.rows import GAUGE_SERIES_MOST, SERIES_MOST
from loadgen.probes.spec import ProbeSpec

__all__ = ["PageReader", "open_reader"]


class PageReader:
    """Fetches the page of a probe and selects its rows."""

    def __init__(self, spec: ProbeSpec, tools: Tools) -> None:
        self._rows = rows_of(spec)
        self._wanted = names_wanted(self._rows)
        self._remarks: dict[str, None] = {}
        self._scraper = Scraper(spec, tools.clock, tools.secret(spec.auth_secret), tools.permit)

    async def read(self, limit_s: float) -> Reading:
        """Read the page once.

        Raises:
            NotRead: the page could not be fetched, is invalid, or has none of the probe's metrics.
        """
        page = await self._scraper.fetch(limit_s)
        try:
            found = select(self._rows, parse(page.body, self._wanted.__contains__))
        except BadPage as error:
            raise NotRead(f"the page is not used: {error}") from None
        if not found.rows:
            raise NotRead("none of the probe's metrics is on the page")
        if found.left_out:
            # The number is not in it: it may change with each page, and each remark is shown once.
            self._note(
                f"some series are not recorded: a probe records at most {SERIES_MOST:,} series,"
                f" and {GAUGE_SERIES_MOST} of a named gauge"
            )
        remarks = tuple(self._remarks)
        return Reading(page.sent_ns, page.received_ns, found.rows, found.values, remarks=remarks, cost_ns=page.cost_ns)

    def _note(self, text: str) -> None:
        self._remarks[text] = None

    async def last(self) -> tuple[Note, ...]:
        """Return nothing: a page has only numbers."""
        return ()

    async def close(self) -> None:
        """Close the connection."""
        await self._scraper.close()


def open_reader(spec: ProbeSpec, tools: Tools) -> PageReader:
    """Return the reader of a page."""
    return PageReader(spec, tools)
