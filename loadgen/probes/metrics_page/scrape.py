"""Fetches the page of one probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from loadgen.probes.metrics_page.exposition import BYTES_MOST
from loadgen.probes.reader import Permit
from loadgen.probes.running.http_fetch import Fetched, HttpFetcher
from loadgen.probes.spec import ProbeSpec

__all__ = ["Scraper"]

_ACCEPT: Final = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=1,*/*;q=0.1"


class Scraper:
    """Fetches the page of one probe, on one connection while the server keeps it.

    Args:
        secret: the value of the header `auth_header`; it is never part of a message.
        permit: decides about each connection, by the address.
    """

    def __init__(
        self, spec: ProbeSpec, clock: Callable[[], int], secret: str = "", permit: Permit | None = None
    ) -> None:
        self.spec = spec
        headers = {"Accept": _ACCEPT} | ({spec.auth_header: secret} if secret else {})
        self._http = HttpFetcher(
            spec.url, clock, headers, secrets=(secret,), permit=permit, most=BYTES_MOST, what="page"
        )

    async def fetch(self, limit_s: float) -> Fetched:
        """Fetch the page, within `limit_s` in all.

        Raises:
            NotFetched: no complete page arrived in time, or the server sent something else than a page.
        """
        return await self._http.fetch(self.spec.url, limit_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()
