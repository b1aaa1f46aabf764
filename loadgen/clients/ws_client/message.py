"""A message of a WebSocket: as received, with its time, and as sent."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import msgspec

from loadgen.clients.framing.ws_frames import BINARY, TEXT
from loadgen.clients.protocol.request_body_encoding import encode_json
from loadgen.clients.response.pick import Missing, pick_from
from loadgen.clients.ws_client.exchanged import Exchanged, shown
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, UsageError

__all__ = ["Message", "encoded", "sent_message"]

T = TypeVar("T")
_from_json = msgspec.json.Decoder().decode
_ABSENT: Any = object()


class Message:
    """One message. HOT: made once a message.

    data: text, or bytes of a binary message. t_ns: when it arrived, `perf_counter_ns`. age_ns: the time from the
    stamp of the target to the arrival, if `messages(stamp=...)` read it; it contains the error of both clocks.
    """

    __slots__ = ("_json", "_meter", "_sample", "age_ns", "data", "t_ns")

    def __init__(self, data: str | bytes, t_ns: int, value: Any = _ABSENT) -> None:
        self.data, self.t_ns, self._json = data, t_ns, value
        self.age_ns: int | None = None
        self._meter: Meter | None = None
        """If it answers an `ask`: a failed `pick` changes the row of that (`_sample`)."""
        self._sample: Exchanged | None = None

    @property
    def text(self) -> str:
        """Return the message as text; a binary one is decoded as UTF-8, with replacements."""
        return self.data if isinstance(self.data, str) else self.data.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the message parsed as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        if self._json is _ABSENT:
            self._json = _from_json(self.data)
        return self._json

    @overload
    def pick(self, path: str) -> str: ...
    @overload
    def pick(self, path: str, kind: type[T]) -> T: ...
    def pick(self, path: str, kind: Any = str) -> Any:
        """Return a value from the message, as `Reply.pick` does: `$.text`, `regex:id=([0-9]+)`.

        Raises:
            ExpectFailed: `pick $.text`: no match, or the wrong type. An `ask` then has this outcome, too.
        """
        if isinstance(path, str) and path.startswith("header:"):
            raise UsageError(f'pick: a message has no headers: "{path}"', hint='write "$.token"')
        it: Any = self
        try:
            return pick_from(it, path, kind)
        except Missing as error:
            if self._meter is not None and self._sample is not None:
                self._meter.settle_as(self._sample, f"pick {path}")
            raise ExpectFailed(f"pick {path}", f"{error}, in {shown(self.data)[:200]}") from error

    def __repr__(self) -> str:
        return f"<Message {shown(self.data)[:80]!r}>"


def encoded(message: Any) -> tuple[int, bytes]:
    """HOT. Return (kind of frame, payload) of a message: text, bytes (a binary frame), or another value as JSON.

    Raises:
        UsageError: the value has no form in JSON.
    """
    if isinstance(message, str):
        return TEXT, message.encode()
    if isinstance(message, bytes | bytearray | memoryview):
        return BINARY, bytes(message)
    try:
        return TEXT, encode_json(message)
    except (TypeError, ValueError) as error:
        raise UsageError(f"ws: {message!r} cannot be sent: {error}", hint="send text, bytes, or JSON values") from error


def sent_message(message: Any, payload: bytes) -> Message:
    """Return what `encoded` encoded as a message, for functions that take an id out of one."""
    if isinstance(message, str):
        return Message(message, 0)
    return Message(payload, 0) if isinstance(message, bytes | bytearray | memoryview) else Message("", 0, message)
