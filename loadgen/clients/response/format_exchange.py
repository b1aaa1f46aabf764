"""Formats one exchange as text, to show a human what was sent and received.

Heads are shown as sent and received, with plain line ends. Bodies are decoded, shown as text if they are text, and
cut at 4 KiB with a note. Nothing is redacted here; callers that store the text have to do that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from loadgen.clients.protocol.decoding import DecodingError, decode, is_charset
from loadgen.clients.protocol.request_body_encoding import StreamedRequest
from loadgen.clients.protocol.response_heads import Head

__all__ = ["BODY_TEXTS", "MAX_SHOWN_BYTES", "request_text", "response_text"]

BODY_TEXTS: Final[dict[str, Callable[[str, bytes, bool], str]]] = {}
"""Functions that show a body, by its content type: of the path, the body, and whether it is the request's. Clients of
other protocols over HTTP add theirs.
"""
MAX_SHOWN_BYTES: Final = 4096
_MAX_UNPACKED_BYTES: Final = 1024 * 1024
"""A body that decodes to more than this is not shown."""
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9_.:-]+)")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_C1 = re.compile(r"[\x80-\x9f]")
"""Control characters of latin-1, which a terminal would execute."""


def request_text(data: bytes) -> str:
    """Return a request, given as its bytes, as text for human readers. Secrets are not masked."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = _latin(head).replace("\r\n", "\n")
    upload = data.upload if isinstance(data, StreamedRequest) else None
    if upload is not None:
        size = "a body of unknown length" if upload.length is None else f"{upload.length} bytes"
        return f"{lines}\n\n<{size}, sent piece by piece>"
    kind = re.search(r"(?im)^content-type:[ \t]*(.*)$", lines)
    path = lines.partition(" ")[2].partition(" ")[0]
    return f"{lines}\n\n{_body_text(body, kind[1] if kind else '', path, is_request=True)}"


def response_text(
    head: Head,
    body: bytes | None,
    *,
    is_unpacked: bool = False,
    path: str = "",
    trailers: Sequence[tuple[bytes, bytes]] = (),
) -> str:
    """Return a response as text for human readers: its status line, headers, the beginning of its body, and trailers.

    body: as received, or decoded if `is_unpacked`; None if it was not kept. path: of the request.
    """
    first = f"HTTP/{head.http_version} {head.status} {_latin(head.reason)}".rstrip()
    lines = [first, *(f"{_latin(name)}: {_latin(value)}" for name, value in head.raw)]
    kind = _latin(head.get(b"content-type") or b"")
    if body is None:
        shown = "<a stream: its body was not kept>"
    elif head.zipped and not is_unpacked:
        shown = _unpacked_text(head, body, kind)
    else:
        shown = _body_text(body, kind, path)
    ends = "".join(f"\n{_latin(name)}: {_latin(value)}" for name, value in trailers)
    return "\n".join(lines) + f"\n\n{shown}" + (f"\n{ends}" if ends else "")


def _unpacked_text(head: Head, body: bytes, kind: str) -> str:
    try:
        return _body_text(decode(body, head.encodings, _MAX_UNPACKED_BYTES), kind)
    except DecodingError as error:
        return f"<{len(body)} bytes, {head.encodings}: {error}>"


def _body_text(body: bytes, kind: str, path: str = "", *, is_request: bool = False) -> str:
    """Return the beginning of a body as text, or its size and content type if it is not text. kind: its
    content type. path: of the request.
    """
    if not body:
        return ""
    if BODY_TEXTS and (shown := BODY_TEXTS.get(kind.partition("+")[0].partition(";")[0].strip().lower())) is not None:
        return _C1.sub("\ufffd", _NO_TEXT.sub("\ufffd", shown(path, body, is_request)))
    is_cut = len(body) > MAX_SHOWN_BYTES
    charset = _CHARSET.search(kind)
    text = _decoded(body[:MAX_SHOWN_BYTES], charset[1] if charset else "utf-8", is_cut)
    if text is None or _NO_TEXT.search(text):
        return f"<{len(body)} bytes, {kind or 'no content type'}>"
    text = _C1.sub("\ufffd", text)
    return f"{text}\n<cut: {MAX_SHOWN_BYTES} of {len(body)} bytes>" if is_cut else text


def _decoded(part: bytes, charset: str, is_cut: bool) -> str | None:
    """Return bytes as text, or None if they are not valid in this charset. is_cut: the last character may be
    incomplete.
    """
    if not is_charset(charset):
        return None
    for lost in range(4 if is_cut else 1):
        try:
            return part[: len(part) - lost].decode(charset)
        except UnicodeError:
            continue  # the cut may be within a character, so try with one byte less
    return None


def _latin(data: bytes) -> str:
    return _C1.sub("\ufffd", data.decode("latin-1"))
