"""GET requests of probes, with hard limits on time and size. Only this module of the package imports httpx.

Everything runs on an event loop of its own (`new_loop`), because the loop of a run must never wait for DNS or for a
server that sends its headers byte by byte. `asyncio.timeout` ends both waits. Redirects are not followed, variables
such as HTTPS_PROXY are ignored, and compressed answers are rejected: they could expand to gigabytes.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import httpx

from loadgen.allowlist import as_address, never
from loadgen.dns_in_threads import DnsInThreads
from loadgen.outside_text import one_line
from loadgen.probes.reader import NotRead, Permit
from loadgen.probes.running.http_place import place_of
from loadgen.units import NS_PER_S

__all__ = ["Fetched", "HttpFetcher", "NotFetched", "new_loop", "time_limit_s"]

_KEPT_S: Final = 2.5
"""Servers close idle connections, uvicorn after 5 s. A connection that was idle for longer than this is not used."""
_LONGEST_S: Final = 5.0
_PART_S: Final = 60.0
"""The time limit of each part of an answer; the caller's limit ends the whole."""
_check: ContextVar[Callable[[str, Sequence[str]], None] | None] = ContextVar("loadgen_probe_check", default=None)
"""Checks the addresses of a look-up; each probe has a task and so a context of its own."""


class NotFetched(NotRead):
    """There is no complete answer. The text gives the reason, without secrets."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, with the times of its request and of its last byte."""

    body: bytes
    sent_ns: int
    received_ns: int
    status: int = 200
    date: str = ""
    """The server's `Date` header."""
    network_ns: int = 0
    """One round trip of the connection, as the kernel measured it; 0 if it is unknown."""

    @property
    def cost_ns(self) -> int:
        """Return the time that the server took, at most: the time from request to answer without one round trip."""
        return max(0, self.received_ns - self.sent_ns - self.network_ns)


_TCPI_RTT: Final = slice(68, 72)
"""Where `struct tcp_info` of Linux has `tcpi_rtt`, the smoothed round trip in µs (`linux/tcp.h`)."""


def time_limit_s(every_ns: int) -> float:
    """Return the time limit of one read: 80 % of the interval, and at most 5 s."""
    return min(_LONGEST_S, 0.8 * every_ns / NS_PER_S)


class HttpFetcher:
    """Fetches from one server, on one connection while the server keeps it.

    Args:
        url: the checked URL of the server; only its scheme, host and port are used.
        clock: ns.
        headers: sent with each request. secrets: values that no message may contain.
        permit: decides about each connection, by the address.
        most: the most bytes of an answer.
        ca: the path of a file with certificates to trust instead of the system's; "" for the system's.
        what: the word for an answer in messages.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], int],
        headers: Mapping[str, str],
        *,
        secrets: Sequence[str] = (),
        permit: Permit | None = None,
        most: int,
        ca: str = "",
        what: str = "answer",
    ) -> None:
        self._is_tls = url.startswith("https:")
        self._clock, self._permit, self._most, self._ca, self._what = clock, permit, most, ca, what
        self._headers = {"User-Agent": "loadgen-probe", "Accept-Encoding": "identity", **headers}
        # The last word too: of "Bearer TOKEN", an error text of the server may repeat only the token.
        words = {part for value in secrets for part in (value, *value.split()[-1:]) if part}
        self._secrets = sorted(words, key=len, reverse=True)
        self._host, self._port = place_of(url)
        self._client: httpx.AsyncClient | None = None
        self._context: ssl.SSLContext | bool = False

    async def fetch(self, url: str, limit_s: float, fine: Sequence[int] = (200,)) -> Fetched:
        """Fetch a URL of this server, within `limit_s` in all. fine: the status codes whose answers are returned.

        Raises:
            NotFetched: no complete answer arrived in time, or it has another status.
        """
        sent_ns = self._clock()
        try:
            async with asyncio.timeout(limit_s):
                status, body, date, network_ns = await self._get(url, fine)
        except TimeoutError:
            await self.close()
            raise NotFetched(f"no complete answer within {limit_s:.3g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            await self.close()
            raise NotFetched(self._plain(error)) from None
        return Fetched(body, sent_ns, self._clock(), status, date, network_ns)

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # a connection that cannot be closed is gone
                async with asyncio.timeout(0.2):
                    await client.aclose()

    def masked(self, text: str, most: int = 160) -> str:
        """Return a text of the server as one short line in which the secrets of the requests are masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(" ".join(text.split()), most)

    async def _get(self, url: str, fine: Sequence[int]) -> tuple[int, bytes, str, int]:
        _check.set(self._check)
        self._check_literal()
        client = self._client or self._new_client()
        async with client.stream("GET", url) as reply:
            if reply.is_redirect:
                raise NotFetched(f"the server returned http {reply.status_code}, and redirects are not followed")
            if reply.status_code not in fine:
                raise NotFetched(f"the server returned http {reply.status_code}")
            if reply.headers.get("content-encoding", "identity") not in ("", "identity"):
                raise NotFetched(f"the server sent a compressed {self._what}, which is not supported")
            body = bytearray()
            async for part in reply.aiter_raw():
                body += part
                if len(body) > self._most:
                    await self.close()
                    raise NotFetched(f"the {self._what} has more than {self._most >> 20} MiB")
            network_ns = _round_trip_ns(reply)
        return reply.status_code, bytes(body), reply.headers.get("date", "")[:100], network_ns

    def _new_client(self) -> httpx.AsyncClient:
        if self._is_tls and not self._context:
            self._context = ssl.create_default_context(cafile=self._ca or None)
        self._client = httpx.AsyncClient(
            headers=self._headers,
            timeout=_PART_S,
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
        return self.masked(text)


def _round_trip_ns(reply: httpx.Response) -> int:
    """Return the round trip of the connection of an answer; 0 where the kernel does not show it."""
    stream = reply.extensions.get("network_stream")
    sock = None if stream is None else stream.get_extra_info("socket")
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_RTT.stop)
    except OSError:
        return 0
    return int.from_bytes(info[_TCPI_RTT], sys.byteorder) * 1_000


class _Loop(DnsInThreads):
    """Checks the addresses by the function of the fetcher that is at work."""

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        if (check := _check.get()) is not None:
            check(host, addresses)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for probes."""
    return _Loop()
