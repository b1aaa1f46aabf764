"""One connection to PostgreSQL or to PgBouncer's console, on the loop of the caller. Only this module imports psycopg.

Statements are sent by the simple protocol and without parameters: PgBouncer's console has no other one, and
`EXPLAIN` of a statement with `$1` is an error in the extended protocol. All values arrive as text. Several statements
in one call take one round trip and are one transaction.

psycopg's own asynchronous connection is not used: when a wait is cancelled, it waits for the server's answer to a
cancel request, so a server that hangs would delay the loop of all probes. Here a time-out closes the socket, and the
server ends the statement by its own `statement_timeout`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from loadgen.extras import missing_package
from loadgen.outside_text import one_line

__all__ = ["Connection", "Denied", "Lost", "Rows", "psycopg_pq"]

Rows = list[tuple[str | None, ...]]
"""The rows of one result; None for NULL."""

_MESSAGE_MOST: Final = 300


class Lost(Exception):
    """No connection: it failed, timed out, or the server closed it. The text gives the reason, without secrets."""


class Denied(Exception):
    """The server answered with an error; the connection is still usable. code: SQLSTATE, such as "42501"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """An open connection. Only one call at a time is possible."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._names: tuple[str, ...] = ()
        """The columns of the last result."""

    @classmethod
    async def open(cls, parts: Mapping[str, str], limit_s: float) -> Connection:
        """Connect within `limit_s`.

        parts: keys and values of libpq. Hosts must be addresses (`hostaddr`), because libpq would wait for DNS.

        Raises:
            Lost: the connection failed.
            UsageError: psycopg is not installed.
        """
        pq = psycopg_pq()
        text = " ".join(f"{key}='{_quoted(value)}'" for key, value in parts.items())
        raw = pq.PGconn.connect_start(text.encode())
        self = cls(raw)
        try:
            async with asyncio.timeout(limit_s):
                while (state := _status(raw, pq)) != pq.PollingStatus.OK:
                    if state == pq.PollingStatus.FAILED:
                        raise Lost(_why(raw, parts.get("password", "")))
                    await _ready(raw.socket, is_writing=state == pq.PollingStatus.WRITING)
        except TimeoutError:
            self.close()
            raise Lost(f"no connection within {limit_s:.1f} s") from None
        except BaseException:
            self.close()
            raise
        raw.nonblocking = 1
        raw.notice_handler = None
        return self

    @property
    def is_open(self) -> bool:
        """Whether the connection was not closed by this side."""
        return self._raw is not None

    async def query(self, text: str, limit_s: float) -> list[Rows]:
        """Send statements, separated by semicolons, and return the rows of each. The answers must arrive in `limit_s`.

        Raises:
            Denied: the server answered with an error. All statements of the call had no effect.
            Lost: the connection is closed now.
        """
        if self._raw is None:
            raise Lost("the connection is closed")
        try:
            async with asyncio.timeout(limit_s):
                return await self._query(text.encode())
        except TimeoutError:
            self.close()
            raise Lost(f"no answer within {limit_s:.1f} s") from None
        except asyncio.CancelledError:
            self.close()  # an answer is under way, so the connection is of no use
            raise

    async def table(self, text: str, limit_s: float) -> list[dict[str, str | None]]:
        """Send one statement, and return its rows by column. Raises as `query` does."""
        results = await self.query(text, limit_s)
        return [dict(zip(self._names, row, strict=True)) for row in (results[-1] if results else ())]

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        if self._raw is not None:
            self._raw.finish()
            self._raw = None

    async def _query(self, text: bytes) -> list[Rows]:
        pq, raw = psycopg_pq(), self._raw
        import psycopg  # its exceptions; `psycopg_pq` has reported a missing package

        results: list[Rows] = []
        denied: Denied | None = None
        try:
            raw.send_query(text)
            while raw.flush():
                await _ready(raw.socket, is_writing=True)
            while True:
                while raw.is_busy():
                    await _ready(raw.socket)
                    raw.consume_input()
                result = raw.get_result()
                if result is None:
                    break
                if result.status == pq.ExecStatus.TUPLES_OK:
                    results.append(_rows(result))
                    names = map(result.fname, range(result.nfields))
                    self._names = tuple((name or b"").decode("utf-8", "replace") for name in names)
                elif result.status == pq.ExecStatus.COMMAND_OK:
                    results.append([])
                elif denied is None:
                    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode("ascii", "replace")
                    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
                    denied = Denied(code, _plain(message))
        except psycopg.Error as error:
            self.close()
            raise Lost(_plain(str(error).encode())) from None
        if raw.status == pq.ConnStatus.BAD:
            self.close()
            raise Lost(str(denied) if denied else "the server closed the connection")
        if denied is not None:
            raise denied
        return results


def psycopg_pq() -> Any:
    """Return psycopg's interface to libpq.

    Raises:
        UsageError: psycopg is not installed. The hint has the command that installs it.
    """
    try:
        from psycopg import pq  # slow to import, and needed only by a run with such a probe
    except ImportError:
        raise missing_package("a probe of PostgreSQL or PgBouncer", "psycopg", "probes") from None
    return pq


def _status(raw: Any, pq: Any) -> Any:
    return pq.PollingStatus.FAILED if raw.status == pq.ConnStatus.BAD else raw.connect_poll()


def _rows(result: Any) -> Rows:
    columns = range(result.nfields)
    get = result.get_value
    return [
        tuple(None if (value := get(row, column)) is None else value.decode("utf-8", "replace") for column in columns)
        for row in range(result.ntuples)
    ]


async def _ready(fd: int, *, is_writing: bool = False) -> None:
    """Wait until the socket can be read or written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def set_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if is_writing else (loop.add_reader, loop.remove_reader)
    add(fd, set_ready)
    try:
        await ready
    finally:
        remove(fd)


def _why(raw: Any, password: str) -> str:
    message = bytes(raw.error_message or b"")
    if password:
        # Before the message is made printable, because a password may have characters that are shown as codes.
        for form in (password, _quoted(password)):
            message = message.replace(form.encode(), b"<redacted>")
    return _plain(message)


def _plain(message: bytes | None) -> str:
    text = (message or b"").decode("utf-8", "replace").strip()
    return one_line(" ".join(text.split()), _MESSAGE_MOST) or "the server gave no reason"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
