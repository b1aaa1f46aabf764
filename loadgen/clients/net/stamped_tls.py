"""TLS connections with the kernel's times for streamed answers.

`StampedTlsTransport` reads the socket as `StampedTransport` does, and decrypts the received bytes with an
`ssl.SSLObject`. The bytes of a TLS record get the time of the read that completed the record, because no byte of a
record can be decrypted before its last byte is there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any, Final

from loadgen.clients.net.kernel_clock import Ancillary, KernelClock
from loadgen.clients.net.stamped_transport import StampedConnection, StampedTransport

__all__ = ["StampedTlsTransport"]

_READ_BYTES: Final = 64 * 1024


class StampedTlsTransport(StampedTransport):
    """A `StampedTransport` with TLS. Await `shake` before use; it calls `connection_made`."""

    __slots__ = ("_incoming", "_outgoing", "_shaken", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connection: StampedConnection,
        clock: KernelClock,
        context: ssl.SSLContext,
        server_hostname: str | None,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._shaken: asyncio.Future[None] = loop.create_future()
        super().__init__(loop, sock, connection, clock)

    def _begin(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    # -- handshake -----------------------------------------------------------------------------

    async def shake(self) -> None:
        """Make the TLS handshake. If that fails or is cancelled, the socket is left to the caller.

        Raises:
            OSError: the handshake failed (ssl.SSLError), or the target closed the connection.
        """
        try:
            self._step()
            await self._shaken
        except BaseException:
            self._is_closed = self._is_closing = True
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            raise

    def _step(self) -> None:
        """Go on with the handshake as far as the received bytes allow."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            self._send()  # the alert
            self._failed(error)
        else:
            self._send()
            if not self._shaken.done():
                self._connection.connection_made(self)
                self._shaken.set_result(None)

    def _failed(self, error: OSError) -> None:
        if not self._shaken.done():
            self._shaken.set_exception(error)

    # -- reading and writing ---------------------------------------------------------------------

    def _received(self, data: bytes, ancillary: Ancillary, now_ns: int) -> None:
        """HOT, once a read: decrypt the data, and pass them on."""
        if not data:
            self._over()
            return
        incoming, tls = self._incoming, self._tls
        incoming.write(data)
        if not self._shaken.done():
            self._step()
            if not self._shaken.done():
                return
        if self._is_closed:  # the handshake failed
            return
        pieces: list[bytes] = []
        failure: ssl.SSLError | None = None
        is_over = False
        try:
            while piece := tls.read(_READ_BYTES):
                pieces.append(piece)
                if not incoming.pending and not tls.pending():
                    break  # most reads bring one record; to read once more would raise, which takes 3 µs
            else:
                is_over = True  # the target has sent that nothing more comes
        except ssl.SSLWantReadError:
            pass  # the last record is not complete: the rest comes with a later read
        except ssl.SSLError as error:
            failure = error
        if self._outgoing.pending:  # the answer to a new key
            self._send()
        if pieces:
            plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            super()._received(plain, ancillary, now_ns)
        if failure is not None:
            self._end(failure)
        elif is_over:
            self._over()

    def _over(self) -> None:
        """The target has closed its side."""
        if not self._shaken.done():
            self._failed(ConnectionResetError("the connection was closed in the TLS handshake"))
            return
        if not self._is_closing:
            self._connection.eof_received()
            self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]  # one record at a time
        except ssl.SSLError as error:
            self._end(error)
            return
        self._send()

    def _send(self) -> None:
        if self._outgoing.pending:
            super().write(self._outgoing.read())

    def close(self) -> None:
        """Close the connection when the buffer is written, after the message of TLS that nothing more comes."""
        if not self._is_closing:
            with suppress(ssl.SSLError):  # it waits for the answer of the target, which nobody needs
                self._tls.unwrap()
            self._send()
        super().close()

    def _end(self, error: Exception | None) -> None:
        if not self._shaken.done():
            self._failed(error if isinstance(error, OSError) else ConnectionResetError("closed"))
            return
        super()._end(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the SSL object too, besides what `StampedTransport` has."""
        return self._tls if name == "ssl_object" else super().get_extra_info(name, default)
