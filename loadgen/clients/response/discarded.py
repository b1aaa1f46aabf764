"""Answers whose body is counted and not kept: `await user.http.get("/export.zip", discard=True)`.

The body goes through the parser and is let go, so that one of any size takes no memory; the limit of a body's size
does not hold. Head, times and sizes are those of any reply. What asks for the body (`content`, `text`, `json()`,
`pick`, `expect(json=...)`) is a fault of the scenario, and is told so. Of an error (a status of 400 or more) the
first 4 KiB are kept for whoever wants to know why: they are shown with the failure.

As a stream it gives the times of its pieces (`event_ns`), and the block ends when the body did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import httpx

from loadgen.clients.protocol.head_cache import Head
from loadgen.clients.response.exchange import MAX_SHOWN_BYTES
from loadgen.clients.response.streams import MAX_EVENTS, StreamedReply
from loadgen.errors import UsageError

__all__ = ["DiscardedReply"]


class DiscardedReply(StreamedReply):
    """See the module."""

    __slots__ = ()

    def took(self, data: bytes, now_ns: int) -> bool:
        self.events += 1
        if self.events <= MAX_EVENTS:
            self.event_ns.append(now_ns)
        self._raw_bytes += len(data)
        head: Head | None = getattr(self, "head", None)  # of an answer that broke at once there is none
        if head is not None and head.status >= 400:
            kept: bytes = getattr(self, "body", b"")
            if len(kept) < MAX_SHOWN_BYTES:
                self.body = kept + data[: MAX_SHOWN_BYTES - len(kept)]
        return False

    async def over(self) -> DiscardedReply:
        """Wait for the end of the body.

        Raises:
            RequestFailed: `reset`, `protocol`, `timeout`: it broke in the middle.
        """
        try:
            while not self._is_whole:
                if self._failure is not None:
                    raise self._break(self._failure)
                if self._is_closed:
                    raise httpx.StreamClosed
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted
        except asyncio.CancelledError:
            self.abandon()
            raise
        self._record()
        return self

    async def skip(self) -> None:
        await self.over()

    async def left(self) -> None:
        await self.over()

    # -- there is no body -------------------------------------------------------------------------

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"the body of {self.route.method} {self.route.url} was discarded", hint="leave out discard=True to read it"
        )

    @property
    def content(self) -> bytes:
        """
        Raises:
            UsageError: always.
        """
        self._refuse()

    def json(self, **kwargs: Any) -> Any:
        """Raises UsageError, always: a `ValueError` would say that it is no JSON."""
        self._refuse()

    async def aread(self) -> bytes:
        """Raises UsageError, always."""
        self._refuse()

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Raises UsageError, always."""
        self._refuse()
