"""Where a target of TCP or UDP is, and how to get there: what a link needs from the user and the plan."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from loadgen.clients.net.network import RawNetwork
from loadgen.clients.protocol.timeouts import Timeouts, Watched, wheel_of
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import UsageError
from loadgen.target_url import TargetUrl
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["MAX_TIMEOUT_NS", "Deadlines", "Place", "bytes_of", "check_scheme", "limit_of", "place_of"]

MAX_TIMEOUT_NS: Final = 24 * 3600 * NS_PER_S


class Deadlines(Protocol):
    """Watches deadlines, as a `TimeoutWheel` does."""

    def watch(self, it: Watched) -> None:
        """Call `it.expire` when the deadline of `it` has passed."""

    def forget(self, it: Watched) -> None:
        """Watch `it` no longer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A target, and what connects a user to it.

    name: of the target in the plan; "" for its only one. tls: makes the context for `tcps://`; it takes some 20 ms.
    wheel: returns what watches the deadlines of requests.
    """

    name: str
    url: TargetUrl
    meter: Meter
    network: RawNetwork
    timeouts: Timeouts
    tls: Callable[[], ssl.SSLContext]
    wheel: Callable[[asyncio.AbstractEventLoop], Deadlines] = wheel_of

    @property
    def where(self) -> str:
        """Return the target for messages: `gate (127.0.0.1:7000)`."""
        return f"{self.name} ({self.url.place})" if self.name else self.url.place

    def row(self, kind: Literal["TCP", "UDP"], suffix: str = "") -> str:
        """Return the name of a row to which the journey gives none: `TCP gate (connect)`."""
        return f"{kind} {self.name or self.url.place}{f' ({suffix})' if suffix else ''}"


def place_of(place: Place, word: str, schemes: tuple[str, ...]) -> Place:
    """Return a place whose URL has one of these schemes.

    Raises:
        UsageError: it has another scheme.
    """
    check_scheme(f"user.{word}", place.name, place.url, schemes)
    return place


def check_scheme(word: str, name: str, url: TargetUrl, schemes: tuple[str, ...]) -> None:
    """Raise UsageError unless a target has one of these schemes. word: the call. name: of the target in the plan."""
    if url.scheme not in schemes:
        raise UsageError(
            f'{word}: the target "{name}" is {url}, which is not {" or ".join(schemes)}',
            hint=f'write targets={{"{name or "gate"}": "{schemes[0]}://{url.host}:{url.port}"}}',
        )


def bytes_of(word: str, message: object) -> bytes:
    """Return a message to send.

    Raises:
        UsageError: it is not bytes.
    """
    if isinstance(message, bytes):
        return message
    if isinstance(message, bytearray | memoryview):
        return bytes(message)
    hint = f"write b{message!r}, or text.encode()" if isinstance(message, str) else 'write b"PING\\n"'
    raise UsageError(f"{word}: a message must be bytes, not {type(message).__name__}", hint=hint)


def limit_of(word: str, timeout: object, otherwise_ns: int) -> int:
    """Return a time-out of a call in ns; `otherwise_ns` for None.

    Raises:
        UsageError: it is not a duration above 0, or above 24 h.
    """
    if timeout is None:
        return otherwise_ns
    hint = 'write seconds, 2, or a text such as "500ms"'
    if isinstance(timeout, bool) or not isinstance(timeout, str | int | float):
        raise UsageError(f"{word}: timeout={timeout!r} is not a duration", hint=hint)
    try:
        limit_ns = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"{word}: timeout={timeout!r}: {error}", hint=hint) from None
    if not 0 < limit_ns <= MAX_TIMEOUT_NS:
        raise UsageError(f"{word}: timeout={timeout!r} must be above 0, and at most 24 h", hint=hint)
    return limit_ns
