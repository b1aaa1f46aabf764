"""Outcomes of HTTP/3 requests whose stream or connection was ended by an error code. No I/O.

- An HTTP/3 code: `h3 request_rejected`, `h3 internal_error` ...
- A code of QUIC itself, which ends the connection: `h3 transport connection_refused` ...
- A TLS alert in the handshake: `tls`, or `h3 no_application_protocol` if the target offers no HTTP/3 at this port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgen.clients.protocol.outcomes import RESET, TLS
from loadgen.errors import RequestFailed

__all__ = [
    "H3_FLOOD",
    "H3_GOAWAY",
    "IDLE_TIMEOUT",
    "MESSAGE_ERROR",
    "NO_ALPN",
    "NO_ERROR",
    "REQUEST_CANCELLED",
    "REQUEST_REJECTED",
    "VERSION_NEGOTIATION",
    "Close",
    "close_failure",
    "h3_outcome",
]

H3_FLOOD: Final = "h3 flood"
"""The target sent datagrams without an answer in them, faster than any server needs to."""
H3_GOAWAY: Final = "h3 goaway"
"""The target closed the connection with GOAWAY, and did not look at the request."""
IDLE_TIMEOUT: Final = "h3 idle_timeout"
"""Nothing arrived from the target for as long as the idle time-out of QUIC, so the connection ended."""
VERSION_NEGOTIATION: Final = "h3 version_negotiation"
"""The target speaks no version of QUIC that we speak (1 and 2)."""
NO_ALPN: Final = "h3 no_application_protocol"
"""The target speaks QUIC, but not HTTP/3."""

NO_ERROR: Final = 0x100
REQUEST_REJECTED: Final = 0x10B
REQUEST_CANCELLED: Final = 0x10C
MESSAGE_ERROR: Final = 0x10E
_TLS_ALERT: Final = 0x100
_NO_APPLICATION_PROTOCOL: Final = 120

_H3_CODES: Final = {
    0x33: "datagram_error",
    0x100: "no_error",
    0x101: "general_protocol_error",
    0x102: "internal_error",
    0x103: "stream_creation_error",
    0x104: "closed_critical_stream",
    0x105: "frame_unexpected",
    0x106: "frame_error",
    0x107: "excessive_load",
    0x108: "id_error",
    0x109: "settings_error",
    0x10A: "missing_settings",
    0x10B: "request_rejected",
    0x10C: "request_cancelled",
    0x10D: "request_incomplete",
    0x10E: "message_error",
    0x10F: "connect_error",
    0x110: "version_fallback",
    0x200: "qpack_decompression_failed",
    0x201: "qpack_encoder_stream_error",
    0x202: "qpack_decoder_stream_error",
}
"""RFC 9114, section 8.1; RFC 9204, section 6; RFC 9297, section 5.2."""

_TRANSPORT_CODES: Final = {
    0x00: "no_error",
    0x01: "internal_error",
    0x02: "connection_refused",
    0x03: "flow_control_error",
    0x04: "stream_limit_error",
    0x05: "stream_state_error",
    0x06: "final_size_error",
    0x07: "frame_encoding_error",
    0x08: "transport_parameter_error",
    0x09: "connection_id_limit_error",
    0x0A: "protocol_violation",
    0x0B: "invalid_token",
    0x0C: "application_error",
    0x0D: "crypto_buffer_exceeded",
    0x0E: "key_update_error",
    0x0F: "aead_limit_reached",
    0x10: "no_viable_path",
    0x11: "version_negotiation_error",
}
"""RFC 9000, section 20.1; RFC 9368, section 10.2."""


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a connection.

    code: of QUIC if `is_transport`, else of HTTP/3. reason: the text that came with it. is_ours: this side ended the
    connection, because of something that the target sent.
    """

    code: int
    is_transport: bool
    reason: str = ""
    is_ours: bool = False
    outcome: str = ""
    """Set if the outcome does not follow from the code."""


def h3_outcome(code: int) -> str:
    """Return the outcome of an HTTP/3 error code, for example "h3 request_rejected"; "h3 unknown_error" for a
    non-standard number.
    """
    return f"h3 {_H3_CODES.get(code, 'unknown_error')}"


def close_failure(close: Close, where: str) -> RequestFailed:
    """Return the failure of each request that was under way when the connection ended. where: HOST:PORT.

    If the target closed the connection without an error code, the outcome is `reset`, as in HTTP/1.1. For `user.tcp`
    the same event is `closed`.
    """
    reason = f": {close.reason[:200]}" if close.reason else ""
    who = f"we closed the connection to {where}" if close.is_ours else f"{where} closed the connection"
    detail = f"{who}{reason}"
    if close.outcome:
        return RequestFailed(close.outcome, f"{where}{reason}" if close.outcome == TLS else detail)
    if not close.is_transport:
        return RequestFailed(RESET if close.code == NO_ERROR else h3_outcome(close.code), detail)
    if _TLS_ALERT <= close.code < _TLS_ALERT + 256:
        alert = close.code - _TLS_ALERT
        if alert == _NO_APPLICATION_PROTOCOL:
            return RequestFailed(NO_ALPN, f"{where} speaks QUIC but not HTTP/3{reason}")
        return RequestFailed(TLS, f"{where}{reason or f': TLS alert {alert}'}")
    if not close.code:
        return RequestFailed(RESET, detail)
    return RequestFailed(f"h3 transport {_TRANSPORT_CODES.get(close.code, 'unknown_error')}", detail)
