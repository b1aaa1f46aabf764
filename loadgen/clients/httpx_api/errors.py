"""What goes wrong with a request of httpx, for both who may ask: httpx's exception, and our outcome.

    RequestFailed               httpx.TransportError
        \\                        /
         ConnectFailed           httpx.ConnectError          refused, dns, tls, unreachable, no local port ...
         ConnectTimedOut         httpx.ConnectTimeout        timeout
         PoolTimedOut            httpx.PoolTimeout           timeout
         WriteTimedOut           httpx.WriteTimeout          timeout
         ReadTimedOut            httpx.ReadTimeout           timeout
         ReadFailed              httpx.ReadError             reset, unreachable
         AnswerBroken            httpx.RemoteProtocolError   protocol; reset, where the target closed without an answer

A client library that catches httpx's exceptions catches these, and retries as it does; one that leaves the
journey ends the iteration with the outcome that its row has. `failure_in` finds it also behind a library's own
error: `openai.APIConnectionError`, raised from an `httpx.ConnectError`, is `refused`, and its
`openai.NotFoundError`, raised for an `httpx.HTTPStatusError`, is `http 404`.
"""

from __future__ import annotations

import sysconfig
from typing import Any, Final, Literal

import httpx

from loadgen.clients.protocol.outcomes import PROTOCOL, REDIRECTS, RESET, TIMEOUT, http_outcome
from loadgen.errors import RequestFailed

__all__ = [
    "ROW",
    "AnswerBroken",
    "ConnectFailed",
    "ConnectTimedOut",
    "PoolTimedOut",
    "ReadFailed",
    "ReadTimedOut",
    "Stage",
    "WriteTimedOut",
    "as_httpx_error",
    "failure_in",
]

ROW: Final = "loadgen.row"
"""Extension of the responses, and of the requests, that were measured."""

Stage = Literal["pool", "connect", "write", "read"]
"""What a request was about when it failed."""

_LIBRARIES: Final = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
_MOST: Final = 20
"""Errors that are looked at on the way from a library's own to httpx's."""


class _Both(RequestFailed, httpx.TransportError):
    """httpx's own __init__ is called with the message by that of LoadgenError: it is next in line."""


class ConnectFailed(_Both, httpx.ConnectError):
    """There is no connection."""


class ConnectTimedOut(_Both, httpx.ConnectTimeout):
    """There was none in time."""


class PoolTimedOut(_Both, httpx.PoolTimeout):
    """All shared connections were busy for too long."""


class WriteTimedOut(_Both, httpx.WriteTimeout):
    """The target did not take the body."""


class ReadTimedOut(_Both, httpx.ReadTimeout):
    """Nothing came for too long."""


class ReadFailed(_Both, httpx.ReadError):
    """The connection broke."""


class AnswerBroken(_Both, httpx.RemoteProtocolError):
    """What came is not HTTP, or ended in the middle, or before it began."""


_TIMED_OUT: Final[dict[Stage, type[_Both]]] = {
    "pool": PoolTimedOut,
    "connect": ConnectTimedOut,
    "write": WriteTimedOut,
    "read": ReadTimedOut,
}


def as_httpx_error(failure: RequestFailed, stage: Stage) -> RequestFailed:
    """The same failure as an exception that is httpx's, too."""
    outcome = failure.outcome
    if outcome == TIMEOUT:
        kind = _TIMED_OUT[stage]
    elif stage in ("pool", "connect"):
        kind = ConnectFailed
    elif outcome == PROTOCOL or (outcome == RESET and "closed the connection" in failure.detail):
        kind = AnswerBroken
    else:
        kind = ReadFailed
    return kind(outcome, failure.detail)


def failure_in(error: BaseException) -> str | None:
    """The outcome of the measured request of httpx whose failure `error` is about; None where it is about none.

    error: what left the journey: httpx's own, or a library's that it raised when it caught httpx's. What the
    scenario raises when it has caught one is its own, and a fault of its own.
    """
    at: BaseException | None = error
    for _ in range(_MOST):
        if at is None:
            return None
        if isinstance(at, RequestFailed):
            return at.outcome
        outcome = _outcome_of(at)
        if outcome is not None:
            return outcome
        cause = at.__cause__ or at.__context__
        at = cause if cause is not None and _was_caught_by_library(cause) else None
    return None


def _outcome_of(error: BaseException) -> str | None:
    if isinstance(error, httpx.HTTPStatusError):
        return _status_outcome(error.response)
    if isinstance(error, httpx.TooManyRedirects | httpx.DecodingError | httpx.RemoteProtocolError):
        try:
            is_measured = ROW in error.request.extensions
        except RuntimeError:  # it has no request
            return None
        if is_measured:
            return REDIRECTS if isinstance(error, httpx.TooManyRedirects) else PROTOCOL
    return _status_outcome(getattr(error, "response", None))


def _status_outcome(response: Any) -> str | None:
    if isinstance(response, httpx.Response) and ROW in response.extensions and response.status_code >= 400:
        return http_outcome(response.status_code)
    return None


def _was_caught_by_library(error: BaseException) -> bool:
    """True where an installed package's code caught it: the outermost frame that it got to."""
    trace = error.__traceback__
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_LIBRARIES)
