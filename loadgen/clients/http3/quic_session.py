"""One QUIC connection with HTTP/3 on it, without I/O: datagrams and times in, events and datagrams out.

The only importer of aioquic. aioquic's own asyncio classes are not used, so that sockets, timers and the times of a
request are ours. `QuicSession` changes five things in aioquic:

- The end of a connection is visible at once (`close`). aioquic reports it three probe time-outs later.
- The window of a stream whose reader is slow stays closed (`paused`). aioquic always opens it.
- The length of a body is not compared with Content-Length. aioquic does so for answers to HEAD, too, and ends the
  connection. The caller compares.
- Padding is skipped at once. aioquic reads it byte by byte: 6 ms for each of nginx's probes for large packets.
- Certificates are checked by `certificates.py`, before anything but the handshake is sent.

These are private methods of aioquic, so the extra `http3` has an upper limit, and tests fail if one is gone.

Times are seconds of `perf_counter`.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted, StopSendingReceived, StreamDataReceived, StreamReset
from aioquic.tls import SessionTicket

from loadgen.clients.http3.certificates import OwnCertificate, Trust
from loadgen.clients.http3.close_outcomes import IDLE_TIMEOUT, NO_ERROR, VERSION_NEGOTIATION, Close
from loadgen.clients.http3.tally import Tally
from loadgen.clients.protocol.outcomes import TLS

# aioquic logs each connection, and warns of each that a target ends with an error: for us, these are measurements.
logging.getLogger("quic").setLevel(logging.CRITICAL)

__all__ = [
    "MOST_CONNECTION_BYTES",
    "STREAM_WINDOW_BYTES",
    "DataReceived",
    "HandshakeCompleted",
    "HeadersReceived",
    "QuicSession",
    "QuicTls",
    "StopSendingReceived",
    "StreamDataReceived",
    "StreamReset",
]

STREAM_WINDOW_BYTES: Final = 1024 * 1024
"""The first window of a stream. aioquic doubles it whenever half of it is used."""
MOST_CONNECTION_BYTES: Final = 16 * 1024 * 1024
"""The first window of a connection; doubled in the same way."""
_IDLE_S: Final = 60.0
"""The idle time-out that we ask for. The target's is used if it is shorter."""
_SAFE_SHARE: Final = 0.9
"""The share of the target's idle time-out after which we close an idle connection. Otherwise a request could be sent
just when the target has forgotten the connection, and would get no answer."""
_BAD_CERTIFICATE: Final = 0x100 + 42
_ALPN: Final = ["h3"]


@dataclass(slots=True)
class QuicTls:
    """The TLS settings of all HTTP/3 connections of a plan.

    own: the client's certificate. server_name: replaces the URL's host. has_early_data: `early_data=True`.
    """

    trust: Trust
    own: OwnCertificate | None = None
    server_name: str | None = None
    has_early_data: bool = False


@dataclass(slots=True)
class Tickets:
    """The TLS tickets of one user slot, by HOST:PORT. Each allows 0-RTT on one later connection to the same target."""

    by_place: dict[str, SessionTicket] = field(default_factory=dict)


class QuicSession(QuicConnection):
    """A client's QUIC connection; see the module.

    host: for which the certificate has to be valid. tickets: where tickets for 0-RTT are kept; None: no 0-RTT.
    place: the key of this target in `tickets`. tally: counts lost packets.
    """

    def __init__(self, tls: QuicTls, host: str, tickets: Tickets | None, place: str, tally: Tally) -> None:
        self._host, self._trust = tls.server_name or host, tls.trust
        configuration = QuicConfiguration(
            alpn_protocols=_ALPN,
            is_client=True,
            idle_timeout=_IDLE_S,
            max_data=MOST_CONNECTION_BYTES,
            max_stream_data=STREAM_WINDOW_BYTES,
            server_name=self._host,
            verify_mode=ssl.CERT_NONE,
        )
        if tls.own is not None:
            configuration.certificate, configuration.certificate_chain, configuration.private_key = tls.own
        keep = None
        if tickets is not None:
            configuration.session_ticket = tickets.by_place.pop(place, None)

            def keep(ticket: SessionTicket) -> None:
                tickets.by_place[place] = ticket

        super().__init__(configuration=configuration, session_ticket_handler=keep)
        self._tally = tally
        self.close_reason: Close | None = None
        """Why the connection has ended; None: it has not."""
        self.paused: set[int] = set()
        """Streams whose readers are slow."""
        self._count_lost_packets()

    def _count_lost_packets(self) -> None:
        recovery = self._loss
        on_lost = recovery._on_packets_lost

        def count(**given: Any) -> None:
            packets = list(given.pop("packets"))
            # Without this, packets that are only sent again early would be counted as lost.
            if given.get("congestion_event", True):
                self._tally.lost.add(len(packets), len(packets))
            on_lost(packets=packets, **given)

        recovery._on_packets_lost = count  # type: ignore[method-assign]

    # -- the way out --------------------------------------------------------------------------

    def begin(self, address: tuple[str, int], now_s: float) -> bool:
        """Start the handshake. Return True if requests can be sent at once, as 0-RTT."""
        self.connect(address, now_s)
        self.h3 = _H3(self)
        return self.tls.session_ticket is not None and self.tls.session_ticket.max_early_data_size is not None

    def unsent_bytes(self, stream_id: int) -> int:
        """Return the number of bytes of a stream that are not yet sent, or not yet acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else len(stream.sender._buffer)

    def cancel_stream(self, stream_id: int, code: int, *, sends: bool, receives: bool) -> None:
        """Cancel a stream with an error code.

        sends: end our side with RESET_STREAM. receives: send STOP_SENDING, so that the target ends its side.
        """
        if stream_id not in self._streams:
            return
        if sends:
            self.reset_stream(stream_id, code)
        if receives:
            self.stop_stream(stream_id, code)
        self.paused.discard(stream_id)

    def close(self, error_code: int = NO_ERROR, frame_type: int | None = None, reason_phrase: str = "") -> None:
        if self.close_reason is None:
            self.close_reason = Close(error_code, frame_type is not None, reason_phrase, is_ours=True)
        super().close(error_code, frame_type, reason_phrase)

    # -- the way in ---------------------------------------------------------------------------

    def take(self, data: bytes, address: tuple[str, int], now_s: float) -> None:
        """Process a datagram."""
        self.receive_datagram(data, address, now_s)
        self._note_close()

    def tick(self, now_s: float) -> None:
        """Process that the time of `get_timer` has come."""
        self.handle_timer(now_s)
        self._note_close()

    def why_not_trusted(self) -> str:
        """Return why the target's certificate is not valid, and begin to close the connection; "" if it is.

        A resumed session has no certificate: the target has proved that it is the one whose certificate was checked.
        """
        tls = self.tls
        if tls.session_resumed:
            return ""
        why = self._trust.why_not(tls._peer_certificate, tls._peer_certificate_chain, self._host)
        if why:
            self.close_reason = Close(_BAD_CERTIFICATE, True, why, is_ours=True, outcome=TLS)
            super().close(_BAD_CERTIFICATE, 0, why)
        return why

    def settle_idle_timeout(self) -> None:
        """Use a shorter idle time-out than the target, from now on."""
        theirs_s = self._remote_max_idle_timeout
        if theirs_s:
            self.configuration.idle_timeout = min(_IDLE_S, theirs_s * _SAFE_SHARE)

    @property
    def idle_timeout_s(self) -> float:
        return self.configuration.idle_timeout

    @property
    def most_streams(self) -> int:
        """Return how many streams the target has allowed so far, open and ended ones together."""
        return self._remote_max_streams_bidi

    def _note_close(self) -> None:
        event = self._close_event
        if event is None or self.close_reason is not None:
            return
        # aioquic has no codes for these two, which it finds itself.
        if event.reason_phrase == "Idle timeout":
            self.close_reason = Close(0, True, "nothing arrived within the idle time-out", True, IDLE_TIMEOUT)
        elif event.reason_phrase == "Could not find a common protocol version":
            self.close_reason = Close(0, True, "no common version of QUIC", True, VERSION_NEGOTIATION)
        else:
            self.close_reason = Close(event.error_code, event.frame_type is not None, event.reason_phrase)

    def _handle_padding_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        rest = buf.data_slice(buf.tell(), buf.capacity)
        # Padding nearly always fills the packet, and for 60,000 bytes comparing is 100 times as fast as `lstrip`.
        left = 0 if rest == bytes(len(rest)) else len(rest.lstrip(b"\0"))
        buf.seek(buf.capacity - left)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        if stream.stream_id not in self.paused:
            super()._write_stream_limits(builder, space, stream)


class _H3(H3Connection):
    def buffered_bytes(self, stream_id: int) -> int:
        """Return the number of received bytes of a stream that wait for the end of their frame."""
        stream = self._stream.get(stream_id)
        return 0 if stream is None else len(stream.buffer)

    def _check_content_length(self, stream: Any) -> None:
        """Do nothing: the caller compares."""
