"""HTTP requests to a trace backend, with hard limits on time and size. Only this module of the package imports httpx.

Everything runs on an event loop of its own, because only `asyncio.timeout` ends an answer whose headers come byte by
byte. Redirects are not followed: they would carry credentials to a host that nobody configured. Variables such as
HTTPS_PROXY are ignored. Link-local addresses and metadata services of clouds are never read. No message has a secret.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from loadgen.allowlist import as_address, never
from loadgen.backends.limited_unpack import unpacked_whole
from loadgen.dns_in_threads import DnsInThreads
from loadgen.errors import UsageError
from loadgen.outside_text import one_line
from loadgen.unpack import ArchiveDamaged

__all__ = ["ANSWER_BYTES", "Ask", "Fetched", "Fetcher", "NotFetched"]

ANSWER_BYTES: Final = 128 << 20
"""The most bytes of an answer, unpacked: a trace of 120,000 spans is some 60 MB of JSON."""
CONNECT_S: Final = 5.0
WHOLE_S: Final = 30.0
"""The time limit of a whole answer."""
_SHOWN: Final = 160


class NotFetched(Exception):
    """There was no answer. The text is one line without secrets."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. path: below the URL of the backend, with its query. body: makes it a POST of JSON."""

    path: str
    accept: str = "application/json"
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer with its body unpacked. headers: names in lower case. kind: the media type, without parameters."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return the media type in lower case, "" without one."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """Return whether the answer is a page for people."""
        begin = self.body[:200].lstrip().lower()
        return self.kind == "text/html" or begin.startswith((b"<!doctype html", b"<html"))


class Fetcher:
    """Sends requests to one backend.

    Args:
        url: its checked base URL.
        headers: sent with each request. secrets: values that no message may contain.
        ca: trust this certificate instead of the system's.
        whole_s: the time limit of a whole answer.

    Raises:
        UsageError: the certificate cannot be used.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        ca: Path | None = None,
        whole_s: float = WHOLE_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._whole_s = whole_s
        # The last word too: of "Bearer TOKEN", an error text of the server may repeat only the token.
        words = {part for value in secrets for part in (value, *value.split()[-1:]) if part}
        self._secrets = sorted(words, key=len, reverse=True)
        self._headers = {"User-Agent": "loadgen", "Accept-Encoding": "gzip", **(headers or {})}
        self._runner: asyncio.Runner | None = None
        self._client: httpx.AsyncClient | None = None
        try:
            is_tls = self.url.startswith("https:")
            self._context = ssl.create_default_context(cafile=None if ca is None else str(ca)) if is_tls else False
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"the certificate {ca} cannot be used: {error}", hint="give a PEM file as ca") from None

    def get(self, asks: Sequence[Ask]) -> list[Fetched | NotFetched]:
        """Send all requests at the same time, and return their answers in their order."""
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=_Loop)
        return self._runner.run(self._all(asks))

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        runner, self._runner = self._runner, None
        if runner is not None:
            with suppress(Exception):  # a connection that cannot be closed is gone
                if client is not None:
                    runner.run(_closed(client))
            runner.close()

    def plain(self, text: str) -> str:
        """Return a text of the backend as one short line, in which the secrets of the requests are masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(" ".join(text.split()), _SHOWN)

    async def _all(self, asks: Sequence[Ask]) -> list[Fetched | NotFetched]:
        if self._client is None:
            self._client = httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(self._whole_s, connect=CONNECT_S),
                follow_redirects=False,
                trust_env=False,
                verify=self._context,
            )
        return list(await asyncio.gather(*(self._one(self._client, one) for one in asks)))

    async def _one(self, client: httpx.AsyncClient, ask: Ask) -> Fetched | NotFetched:
        try:
            async with asyncio.timeout(self._whole_s):
                return await self._answer(client, ask)
        except TimeoutError:
            return NotFetched(f"no complete answer within {self._whole_s:g} s")
        except NotFetched as error:
            return error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            return NotFetched(self._why(error))

    async def _answer(self, client: httpx.AsyncClient, ask: Ask) -> Fetched:
        headers = {"Accept": ask.accept} | ({} if ask.body is None else {"Content-Type": "application/json"})
        method = "GET" if ask.body is None else "POST"
        _check(self.url)
        async with client.stream(method, self.url + ask.path, content=ask.body, headers=headers) as reply:
            body = bytearray()
            async for part in reply.aiter_raw():
                body += part
                if len(body) > ANSWER_BYTES:
                    raise NotFetched(f"the answer has more than {ANSWER_BYTES >> 20} MiB")
            found = {name.lower(): value for name, value in reply.headers.items()}
            return Fetched(reply.status_code, _plain_body(bytes(body), found.get("content-encoding", "")), found)

    def _why(self, error: Exception) -> str:
        text = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        if text == "All connection attempts failed":
            text = f"no connection to {self.url}"
        return self.plain(text)


def _plain_body(body: bytes, encoding: str) -> bytes:
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise NotFetched("the answer has a compression that was not asked for")
    try:
        return unpacked_whole(body, ANSWER_BYTES)
    except ArchiveDamaged as error:
        raise NotFetched(f"the compressed answer {error}") from None


async def _closed(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(0.5):
        await client.aclose()


def _check(url: str) -> None:
    """Reject a URL with an address that must never be read. Names are checked when they are looked up."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        _check_address(host, host)


def _check_address(host: str, text: str) -> None:
    if kind := never(as_address(text)):
        raise NotFetched(f"{host} is not permitted: it has a {kind} address")


class _Loop(DnsInThreads):
    """Never connects to link-local addresses and metadata services of clouds."""

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            _check_address(host, address)
