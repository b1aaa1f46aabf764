"""Answers whose body is counted and not kept: `await user.http.get("/export.zip", discard=True)`.

The body goes through the parser and is dropped, so a body of any size takes no memory, and the size limit of bodies
does not apply. Head, times and sizes are those of any reply. Reading the body (`content`, `text`, `json()`,
`pick`, `expect(json=...)`) is an error in the scenario and raises a UsageError. The first 4 KiB of an error (a status
of 400 or more) are kept and shown with the failure.

As a stream it has the times of its pieces (`event_ns`), and the block ends when the body has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import httpx

from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.response.format_exchange import MAX_SHOWN_BYTES
from loadgen.clients.response.streams import MAX_EVENTS, StreamedReply
from loadgen.errors import UsageError

__all__ = ["DiscardedReply"]


class DiscardedReply(StreamedReply):
    """A reply whose body is counted and not kept; see the module."""

    __slots__ = ()

    def took(self, data: bytes, now_ns: int) -> bool:
        self.events += 1
        if self.events <= MAX_EVENTS:
            self.event_ns.append(now_ns)
        self._raw_bytes += len(data)
        head: Head | None = getattr(self, "head", None)  # missing if the answer broke at once
        if head is not None and head.status >= 400:
            kept: bytes = getattr(self, "body", b"")
            if len(kept) < MAX_SHOWN_BYTES:
                self.body = kept + data[: MAX_SHOWN_BYTES - len(kept)]
        # Never pauses the connection, because nothing is kept.
        return False

    async def over(self) -> DiscardedReply:
        """Wait until the whole answer has arrived and been discarded, then return this reply.

        Raises:
            RequestFailed: `reset`, `protocol`, `timeout`: the body broke off in the middle.
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

    # -- reading the body is refused --------------------------------------------------------------

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"the body of {self.route.method} {self.route.url} was discarded", hint="leave out discard=True to read it"
        )

    @property
    def content(self) -> bytes:
        """Raise UsageError, because the body was discarded.

        Raises:
            UsageError: always.
        """
        self._refuse()

    def json(self, **kwargs: Any) -> Any:
        """Raise UsageError, because the body was discarded. A `ValueError` would mean that the body is not JSON."""
        self._refuse()

    async def aread(self) -> bytes:
        """Raise UsageError, because the body was discarded."""
        self._refuse()

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Raise UsageError, because the body was discarded."""
        self._refuse()
