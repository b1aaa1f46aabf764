"""Undoing Content-Encoding: gzip and deflate, bounded, so that a bomb cannot take the worker's memory."""

from __future__ import annotations

import zlib

__all__ = ["DecodingError", "decode"]


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
