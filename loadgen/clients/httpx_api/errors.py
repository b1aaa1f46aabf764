"""Failures of httpx requests, each both an exception of httpx and a loadgen `RequestFailed` with an outcome.

    RequestFailed               httpx.TransportError
        \\                        /
         ConnectFailed           httpx.ConnectError          refused, dns, tls, unreachable, no local port ...
         ConnectTimedOut         httpx.ConnectTimeout        timeout
         PoolTimedOut            httpx.PoolTimeout           timeout
         WriteTimedOut           httpx.WriteTimeout          timeout
         ReadTimedOut            httpx.ReadTimeout           timeout
         ReadFailed              httpx.ReadError             reset, unreachable
         AnswerBroken            httpx.RemoteProtocolError   protocol; reset, if the target closed without an answer

For a second library, httpx2, `add_library` makes the same classes once more, each also an exception of httpx2.

A client library that catches httpx's exceptions catches these too, and its retries work. If one leaves the journey,
the iteration ends with the outcome of the request's row. `failure_in` also finds the failure behind a library's own
error: `openai.APIConnectionError`, raised from an `httpx.ConnectError`, is `refused`, and
`openai.NotFoundError`, raised for an `httpx.HTTPStatusError`, is `http 404`.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, Literal

import httpx

from loadgen.clients.protocol.outcomes import PROTOCOL, REDIRECTS, RESET, TIMEOUT, http_outcome
from loadgen.errors import RequestFailed

__all__ = [
    "KINDS",
    "ROW",
    "AnswerBroken",
    "ConnectFailed",
    "ConnectTimedOut",
    "PoolTimedOut",
    "ReadFailed",
    "ReadTimedOut",
    "Stage",
    "WriteTimedOut",
    "add_library",
    "as_httpx_error",
    "failure_in",
]

ROW: Final = "loadgen.row"
"""Key in the `extensions` of measured requests and responses."""

Stage = Literal["pool", "connect", "write", "read"]
"""The stage in which a request failed."""

_LIBRARIES: Final = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
_MOST: Final = 20
"""Length limit of the chain of causes from a library's error to httpx's."""


class _Both(RequestFailed, httpx.TransportError):
    """Base of the failures that are exceptions of both. `LoadgenError.__init__` calls httpx's (next in the MRO)."""


class ConnectFailed(_Both, httpx.ConnectError):
    """No connection could be opened."""


class ConnectTimedOut(_Both, httpx.ConnectTimeout):
    """No connection was open in time."""


class PoolTimedOut(_Both, httpx.PoolTimeout):
    """All shared connections stayed busy until the time-out."""


class WriteTimedOut(_Both, httpx.WriteTimeout):
    """The target did not accept the body in time."""


class ReadTimedOut(_Both, httpx.ReadTimeout):
    """The target sent nothing in time."""


class ReadFailed(_Both, httpx.ReadError):
    """The connection broke."""


class AnswerBroken(_Both, httpx.RemoteProtocolError):
    """The answer is not HTTP, ended in the middle, or never began."""


_TIMED_OUT: Final[dict[Stage, type[_Both]]] = {
    "pool": PoolTimedOut,
    "connect": ConnectTimedOut,
    "write": WriteTimedOut,
    "read": ReadTimedOut,
}


KINDS: Final[Mapping[type[RequestFailed], str]] = {
    ConnectFailed: "ConnectError",
    ConnectTimedOut: "ConnectTimeout",
    PoolTimedOut: "PoolTimeout",
    WriteTimedOut: "WriteTimeout",
    ReadTimedOut: "ReadTimeout",
    ReadFailed: "ReadError",
    AnswerBroken: "RemoteProtocolError",
}
"""Our failures, and the names of the libraries' exceptions."""


class _Classes:
    """The classes of all loaded libraries that a journey's exceptions and responses may have."""

    def __init__(self) -> None:
        self.response: tuple[type[Any], ...] = (httpx.Response,)
        self.status_error: tuple[type[Any], ...] = (httpx.HTTPStatusError,)
        self.redirects: tuple[type[Any], ...] = (httpx.TooManyRedirects,)
        self.broken: tuple[type[Any], ...] = (httpx.DecodingError, httpx.RemoteProtocolError)


_CLASSES: Final = _Classes()


def add_library(module: ModuleType) -> dict[type[RequestFailed], type[RequestFailed]]:
    """Add another library with httpx's interface. Return for each of our failures a class that is also an exception of
    this library. (It stays one of httpx, too.)
    """
    _CLASSES.response += (module.Response,)
    _CLASSES.status_error += (module.HTTPStatusError,)
    _CLASSES.redirects += (module.TooManyRedirects,)
    _CLASSES.broken += (module.DecodingError, module.RemoteProtocolError)
    return {kind: type(kind.__name__, (kind, getattr(module, name)), {}) for kind, name in KINDS.items()}


def as_httpx_error(
    failure: RequestFailed, stage: Stage, kinds: Mapping[type[RequestFailed], type[RequestFailed]] | None = None
) -> RequestFailed:
    """Return an exception with the outcome of `failure` that is both a RequestFailed and the httpx exception for this
    stage, such as `httpx.ConnectError`. kinds: the classes of another library.
    """
    outcome = failure.outcome
    if outcome == TIMEOUT:
        kind: type[RequestFailed] = _TIMED_OUT[stage]
    elif stage in ("pool", "connect"):
        kind = ConnectFailed
    elif outcome == PROTOCOL or (outcome == RESET and "closed the connection" in failure.detail):
        kind = AnswerBroken
    else:
        kind = ReadFailed
    return (kind if kinds is None else kinds[kind])(outcome, failure.detail)


def failure_in(error: BaseException) -> str | None:
    """Return the outcome of the measured httpx request that caused `error`; None if no request caused it.

    error: the exception that left the journey: one of httpx, or one that a client library raised after it caught one of
    httpx. An exception that the scenario itself raised after catching one gives None: it is a fault of the scenario.
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
    if isinstance(error, _CLASSES.status_error):
        return _status_outcome(error.response)
    if isinstance(error, _CLASSES.redirects + _CLASSES.broken):
        try:
            is_measured = ROW in error.request.extensions
        except RuntimeError:  # it has no request
            return None
        if is_measured:
            return REDIRECTS if isinstance(error, _CLASSES.redirects) else PROTOCOL
    return _status_outcome(getattr(error, "response", None))


def _status_outcome(response: Any) -> str | None:
    if isinstance(response, _CLASSES.response) and ROW in response.extensions and response.status_code >= 400:
        return http_outcome(response.status_code)
    return None


def _was_caught_by_library(error: BaseException) -> bool:
    """Return True if code of an installed package caught `error`: the outermost frame that `error` reached is there."""
    trace = error.__traceback__
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_LIBRARIES)
