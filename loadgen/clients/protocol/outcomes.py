"""Names of the outcomes of failed requests, and the translation of other libraries' exceptions into them.

Operators read these names in tables, so there are few of them, and each shows who
caused the failure. `no local port` and `no file descriptors` are faults of the
generator. Names that begin with `proxy` are the proxy's (proxy.py). All others are
faults of the target or the network.
"""

from __future__ import annotations

import errno
import socket
import ssl
from functools import cache
from typing import Final

from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import TIMEOUT

__all__ = [
    "DNS",
    "GOAWAY",
    "H2_FLOOD",
    "HEAD_TOO_LARGE",
    "NO_FILES",
    "NO_PORT",
    "OWN_FAULTS",
    "PROTOCOL",
    "REDIRECTS",
    "REFUSED",
    "RESET",
    "TIMEOUT",
    "TLS",
    "TOO_LARGE",
    "UNREACHABLE",
    "connect_failure",
    "count_own_fault",
    "generator_faults",
    "h2_outcome",
    "http_outcome",
]

REFUSED: Final = "refused"
RESET: Final = "reset"
"""The connection was reset, or closed before the first byte of an answer."""
DNS: Final = "dns"
TLS: Final = "tls"
UNREACHABLE: Final = "unreachable"
PROTOCOL: Final = "protocol"
"""The answer is not HTTP, or ended in the middle."""
TOO_LARGE: Final = "body too large"
HEAD_TOO_LARGE: Final = "head too large"
"""More headers, interim answers, trailers or chunk extensions than any server sends."""
H2_FLOOD: Final = "h2 flood"
"""HTTP/2: the target sent frames without an answer in them, faster than any server needs to (http2_floods.py)."""
GOAWAY: Final = "h2 goaway"
"""HTTP/2: the target closed the connection with GOAWAY; `h2_outcome` has the outcomes of single requests."""
REDIRECTS: Final = "too many redirects"
NO_PORT: Final = "no local port"
NO_FILES: Final = "no file descriptors"
OWN_FAULTS: Final = frozenset({NO_PORT, NO_FILES})
"""Faults of the generator itself: a run that has them is not valid."""

_own_faults = 0

_BY_ERRNO = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: RESET,
    errno.ECONNABORTED: RESET,
    errno.EPIPE: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ENETUNREACH: UNREACHABLE,
    errno.EADDRNOTAVAIL: NO_PORT,
    errno.EMFILE: NO_FILES,
    errno.ENFILE: NO_FILES,
}


def connect_failure(error: OSError, where: str) -> RequestFailed:
    """Return the RequestFailed, with an outcome such as `refused`, for an error of the operating system or of TLS while
    connecting. where: HOST:PORT.
    """
    detail = f"{where}: {error.strerror or error}"
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
        return RequestFailed(TLS, f"{where}: {why}")
    if isinstance(error, socket.gaierror):
        return RequestFailed(DNS, detail)
    if isinstance(error, TimeoutError):
        return RequestFailed(TIMEOUT, detail)
    if isinstance(error, ConnectionError) and error.errno is None:
        return RequestFailed(RESET, detail)
    return RequestFailed(_BY_ERRNO.get(error.errno or 0, UNREACHABLE), detail)


@cache
def http_outcome(status: int) -> str:
    """Return the outcome of an answer with an error status, for example "http 503"."""
    return f"http {status}"


_H2_CODES: Final = (
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
)
"""RFC 9113, section 7, by number."""


def h2_outcome(code: int) -> str:
    """Return the outcome of an HTTP/2 error code, for example "h2 refused_stream"; "h2 unknown_error" for a
    non-standard number.
    """
    return f"h2 {_H2_CODES[code]}" if 0 <= code < len(_H2_CODES) else "h2 unknown_error"


def count_own_fault(outcome: str) -> None:
    """Increment the count of `generator_faults` if `outcome` is a fault of the generator and not of the target."""
    global _own_faults
    if outcome in OWN_FAULTS:
        _own_faults += 1


def generator_faults() -> int:
    """Return the number of requests of this process that failed because of the generator itself."""
    return _own_faults
