"""The opening handshake of WebSocket: the request's headers, and the check of the answer. Pure.

No extension is offered. `permessage-deflate` would compress messages; a target that answers with an extension anyway
breaks the protocol, and the connection fails as `ws extension`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from loadgen.clients.framing.ws_frames import accept_of
from loadgen.clients.protocol.http1 import MAX_HEAD_BYTES
from loadgen.clients.protocol.outcomes import HEAD_TOO_LARGE, PROTOCOL
from loadgen.clients.protocol.response_heads import MAX_FIELDS, Head
from loadgen.errors import RequestFailed, UsageError

__all__ = ["BAD_HANDSHAKE", "EXTENSION", "agreed", "check_headers", "http_url", "request_headers", "take_head"]

BAD_HANDSHAKE: Final = "ws bad handshake"
"""The target switched protocols, with a wrong key, or with a subprotocol that was not offered."""
EXTENSION: Final = "ws extension"
"""The target uses an extension that was not offered, such as permessage-deflate."""
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: ([^\r\n]*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = (
    "connection",
    "upgrade",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
)


def check_headers(headers: Mapping[str, str] | None, subprotocols: Iterable[str]) -> tuple[str, ...]:
    """Check the arguments of `user.ws` that become headers, and return the subprotocols.

    Raises:
        UsageError: headers that are not a mapping, a header that the handshake sets itself, or a subprotocol that is
            not a token.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise UsageError("user.ws: headers must be a dictionary", hint='write headers={"X-Version": "3"}')
    for name in headers or ():
        if name.lower() in _OURS:
            hint = 'use subprotocols=["chat.v2"]' if name.lower() == "sec-websocket-protocol" else "leave it out"
            if name.lower() == "sec-websocket-extensions":
                hint = "leave it out: extensions such as permessage-deflate are not supported"
            raise UsageError(f"user.ws: the handshake sets the header {name} itself", hint=hint)
    names = (subprotocols,) if isinstance(subprotocols, str) else tuple(subprotocols)
    for one in names:
        if not isinstance(one, str) or not _TOKEN.fullmatch(one):
            raise UsageError(f"user.ws: {one!r} is not a subprotocol", hint='write subprotocols=["chat.v2"]')
    return names


def http_url(url: str) -> str:
    """Return the URL of the handshake's request: http for ws, and https for wss."""
    for given, meant in (("ws://", "http://"), ("wss://", "https://")):
        if url[: len(given)].lower() == given:
            return meant + url[len(given) :]
    return url


def request_headers(key: str, subprotocols: Sequence[str], headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return all headers of the call. They replace the user's headers of the same name."""
    found = dict(headers or ())
    found |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    if subprotocols:
        found["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    return found


def take_head(buffer: bytearray) -> Head | None:
    """Remove the head of the answer from the buffer, and return it; None if it is incomplete. Interim answers are
    removed and ignored.

    Raises:
        RequestFailed: the bytes are not HTTP, or the head is too large.
    """
    while True:
        if not b"HTTP/1.".startswith(bytes(buffer[:7])):
            raise RequestFailed(PROTOCOL, f"the answer is not HTTP: {bytes(buffer[:60])!r}")
        end = buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(buffer)) > MAX_HEAD_BYTES:
            raise RequestFailed(HEAD_TOO_LARGE, f"the head of the answer is larger than {MAX_HEAD_BYTES:,} bytes")
        if end < 0:
            return None
        head = _parsed(bytes(buffer[:end]))
        del buffer[: end + 4]
        if head.status >= 200 or head.status == 101:
            return head


def _parsed(data: bytes) -> Head:
    first, *lines = data.split(b"\r\n", MAX_FIELDS + 1)
    status = _STATUS.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if status is None or None in fields or len(lines) > MAX_FIELDS:
        raise RequestFailed(PROTOCOL, f"the head of the answer is not HTTP: {data[:60]!r}")
    raw = [(field[1], field[2]) for field in fields if field is not None]
    try:
        return Head(int(status[2]), status[3] or b"", f"1.{status[1].decode()}", raw, False)
    except ValueError as error:
        raise RequestFailed(PROTOCOL, f"the answer has an invalid Content-Length: {error}") from error


def agreed(head: Head, key: str, subprotocols: Sequence[str]) -> str:
    """Return the subprotocol that the target chose, "" for none.

    Raises:
        RequestFailed: `ws refused 403`, `ws bad handshake`, `ws extension`.
    """
    if head.status != 101:
        detail = f"status {head.status} {head.reason.decode('latin-1')}".rstrip()
        raise RequestFailed(
            f"ws refused {head.status}", f"{detail} instead of 101; see its answer with loadgen failures"
        )
    upgrade, accept = _value(head, b"upgrade"), _value(head, b"sec-websocket-accept")
    if upgrade.lower() != "websocket" or accept != accept_of(key):
        wrong = f"Upgrade: {upgrade!r}" if upgrade.lower() != "websocket" else f"Sec-WebSocket-Accept: {accept!r}"
        raise RequestFailed(BAD_HANDSHAKE, f"the target answered with a wrong {wrong}")
    if extension := _value(head, b"sec-websocket-extensions"):
        raise RequestFailed(EXTENSION, f"the target uses {extension!r}, which was not offered; switch it off there")
    chosen = _value(head, b"sec-websocket-protocol")
    if chosen and chosen not in subprotocols:
        raise RequestFailed(BAD_HANDSHAKE, f"the target chose the subprotocol {chosen!r}, which was not offered")
    return chosen


def _value(head: Head, name: bytes) -> str:
    return (head.get(name) or b"").decode("latin-1")
