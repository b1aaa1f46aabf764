"""Undoing Content-Encoding: gzip and deflate, bounded, so that a bomb cannot take the worker's memory.

And what a target may call a charset.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

__all__ = ["DecodingError", "Unpacker", "decode", "is_charset"]

_STEP_BYTES: Final = 64 * 1024
"""At most this much is unpacked at once, whatever the packed bytes say."""


_PYTHONS_OWN: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Codecs of text that are no charsets. What they do to other bytes differs from one Python to the next."""


@lru_cache(maxsize=64)
def is_charset(name: str) -> bool:
    """Of what a target calls one: Python also knows "hex" and "punycode"."""
    try:
        b"ab".decode(name, errors="replace")
    except (LookupError, UnicodeError):
        return False
    return codecs.lookup(name).name.replace("_", "-") not in _PYTHONS_OWN


class DecodingError(ValueError):
    """The body is not what its Content-Encoding says, or larger than allowed when unpacked."""


def decode(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """Undo `encodings` ("gzip", "deflate, gzip"), the last first; unknown ones are left as they are, as httpx does."""
    for encoding in reversed([e.strip().lower() for e in encodings.split(",")]):
        if encoding in ("gzip", "x-gzip"):
            body = _inflate(body, zlib.MAX_WBITS | 16, limit_bytes)
        elif encoding == "deflate":
            try:
                body = _inflate(body, zlib.MAX_WBITS, limit_bytes)
            except DecodingError:
                body = _inflate(body, -zlib.MAX_WBITS, limit_bytes)  # what many servers mean by deflate
    return body


def _inflate(body: bytes, window_bits: int, limit_bytes: int) -> bytes:
    if not body:
        return body
    unpacker = zlib.decompressobj(window_bits)
    try:
        data = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise DecodingError(str(error)) from error
    if len(data) > limit_bytes:
        raise DecodingError(f"more than {limit_bytes} bytes when unpacked")
    if not unpacker.eof:
        raise DecodingError("the compressed body ends in the middle")
    return data


class Unpacker:
    """Undoes Content-Encoding while the body comes in. Gives at most 64 KiB at a time, so a bomb takes no memory."""

    def __init__(self, encodings: str) -> None:
        known = [e.strip().lower() for e in encodings.split(",")]
        self._layers = [_Layer(is_gzip=e != "deflate") for e in reversed(known) if e in ("gzip", "x-gzip", "deflate")]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next packed bytes.

        Raises:
            DecodingError: the body is not what its Content-Encoding says.
        """
        return self._through(data, 0)

    def finish(self) -> None:
        """The body is at its end.

        Raises:
            DecodingError: in the middle of what was packed.
        """
        if any(layer.is_begun and not layer.is_over for layer in self._layers):
            raise DecodingError("the compressed body ends in the middle")

    def _through(self, data: bytes, at: int) -> Iterator[bytes]:
        if at == len(self._layers):
            if data:
                yield data
            return
        for part in self._layers[at].feed(data):
            yield from self._through(part, at + 1)


class _Layer:
    """One Content-Encoding."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16 if is_gzip else zlib.MAX_WBITS)
        self.is_begun = False

    @property
    def is_over(self) -> bool:
        return self._inflater.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            try:
                part = self._inflater.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                if self._is_gzip or self.is_begun:
                    raise DecodingError(str(error)) from error
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # what many servers mean by deflate
                self.is_begun = True
                continue
            self.is_begun = True
            data = self._inflater.unconsumed_tail
            if part:
                yield part
            if self._inflater.eof:
                return
