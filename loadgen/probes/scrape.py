"""Fetches pages of metrics, with hard limits on time and size. Only this module of the package imports httpx.

Everything runs on an event loop of its own (`new_loop`), because the loop of a run must never wait for DNS or for a
server that sends its headers byte by byte. `asyncio.timeout` ends both waits. Redirects are not followed, variables
such as HTTPS_PROXY are ignored, and compressed pages are rejected: they could expand to gigabytes.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import httpx

from loadgen.allowlist import Address, as_address, never
from loadgen.dns_in_threads import DnsInThreads
from loadgen.outside_text import one_line
from loadgen.probes.exposition import BYTES_MOST
from loadgen.probes.settings import ProbeSpec, place_of
from loadgen.units import NS_PER_S

__all__ = ["Fetched", "NotFetched", "Permit", "Scraper", "new_loop", "time_limit_s"]

Permit = Callable[[str, Address, int], str]
"""Returns why a connection to this host, address and port is not permitted; "" if it is permitted."""

_ACCEPT: Final = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=1,*/*;q=0.1"
_KEPT_S: Final = 2.5
"""Servers close idle connections, uvicorn after 5 s. A connection that was idle for longer than this is not used."""
_LONGEST_S: Final = 5.0
_check: ContextVar[Callable[[str, Sequence[str]], None] | None] = ContextVar("loadgen_probe_check", default=None)
"""Checks the addresses of a look-up; each probe has a task and so a context of its own."""


class NotFetched(Exception):
    """The page could not be fetched. The text gives the reason, without secrets."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page, with the times of its request and of its complete answer."""

    body: bytes
    sent_ns: int
    received_ns: int


def time_limit_s(every_ns: int) -> float:
    """Return the time limit of one fetch: 80 % of the interval, and at most 5 s."""
    return min(_LONGEST_S, 0.8 * every_ns / NS_PER_S)


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
        self._clock, self._secret, self._permit = clock, secret, permit
        self._host, self._port = place_of(spec.url)
        self._client: httpx.AsyncClient | None = None
        self._context: ssl.SSLContext | bool = False

    async def fetch(self, limit_s: float) -> Fetched:
        """Fetch the page, within `limit_s` in all.

        Raises:
            NotFetched: no complete page arrived in time, or the server sent something else than a page.
        """
        sent_ns = self._clock()
        try:
            async with asyncio.timeout(limit_s):
                body = await self._get()
        except TimeoutError:
            await self.close()
            raise NotFetched(f"no complete answer within {limit_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            await self.close()
            raise NotFetched(self._plain(error)) from None
        return Fetched(body, sent_ns, self._clock())

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # a connection that cannot be closed is gone
                async with asyncio.timeout(0.2):
                    await client.aclose()

    async def _get(self) -> bytes:
        _check.set(self._check)
        self._check_literal()
        client = self._client or self._new_client()
        async with client.stream("GET", self.spec.url) as reply:
            if reply.is_redirect:
                raise NotFetched(f"the server returned http {reply.status_code}, and redirects are not followed")
            if reply.status_code != 200:
                raise NotFetched(f"the server returned http {reply.status_code}")
            if reply.headers.get("content-encoding", "identity") not in ("", "identity"):
                raise NotFetched("the server sent a compressed page, which is not supported")
            body = bytearray()
            async for part in reply.aiter_raw():
                body += part
                if len(body) > BYTES_MOST:
                    await self.close()
                    raise NotFetched(f"the page has more than {BYTES_MOST >> 20} MiB")
        return bytes(body)

    def _new_client(self) -> httpx.AsyncClient:
        headers = {"User-Agent": "loadgen-probe", "Accept": _ACCEPT, "Accept-Encoding": "identity"}
        if self._secret:
            headers[self.spec.auth_header] = self._secret
        if self.spec.url.startswith("https:") and not self._context:
            self._context = ssl.create_default_context()
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=_LONGEST_S,  # of each part; `fetch` limits the whole
            follow_redirects=False,
            trust_env=False,
            verify=self._context,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_S),
        )
        return self._client

    def _check(self, host: str, addresses: Sequence[str]) -> None:
        for text in addresses:
            address = as_address(text)
            why = f"it has a {kind} address" if (kind := never(address)) else ""
            if not why and self._permit is not None:
                why = self._permit(self._host, address, self._port)
            if why:
                raise NotFetched(f"{host} is not permitted: {why}")

    def _check_literal(self) -> None:
        with suppress(ValueError):
            as_address(self._host)
            self._check(self._host, [self._host])

    def _plain(self, error: Exception) -> str:
        text = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        if text == "All connection attempts failed":
            text = f"no connection to {self._host}:{self._port}"
        for secret in {self._secret, *self._secret.split()[-1:]}:
            if secret:
                text = text.replace(secret, "***")
        return one_line(" ".join(text.split()), 160)


class _Loop(DnsInThreads):
    """Checks the addresses by the function of the page that is being fetched."""

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        if (check := _check.get()) is not None:
            check(host, addresses)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for scrapers."""
    return _Loop()
