"""Ids, times and JSON as the formats of traces write them, checked and brought into the form of the model."""

from __future__ import annotations

import binascii
from base64 import b64decode
from math import isfinite
from typing import Final, TypeVar

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.model import Kind

__all__ = [
    "AGAIN",
    "KINDS",
    "MOST_BYTES",
    "WHOLE",
    "checked_start",
    "decoded",
    "kind_named",
    "nanoseconds",
    "parent_id",
    "span_id",
    "trace_id",
    "whole_ns",
]

AGAIN: Final = "ask for the trace again, and store only answers with status 200"
WHOLE: Final = "check which program wrote the document, and that it is complete"
MOST_BYTES: Final = 512 << 20
"""The largest document that is decoded at once, bytes."""
KINDS: Final[tuple[Kind, ...]] = ("internal", "internal", "server", "client", "producer", "consumer")
"""By the numbers of OpenTelemetry's SpanKind; 0 is "unspecified"."""
_KINDS: Final[dict[str, Kind]] = {
    kind.upper(): kind for kind in ("internal", "server", "client", "producer", "consumer")
}
_LAST_NS: Final = 1 << 63
"""Times reach to the year 2262."""
_T = TypeVar("_T")


def decoded(decoder: msgspec.json.Decoder[_T], data: bytes, what: str) -> _T:
    """Return the decoded JSON document.

    what: the name of the format in messages, such as "Jaeger JSON".

    Raises:
        TraceFormatError: the document is too large, no JSON, nested too deeply, or has values of wrong types.
    """
    if len(data) > MOST_BYTES:
        raise TraceFormatError(
            f"{what}: the document has {len(data) >> 20} MiB, at most {MOST_BYTES >> 20} are allowed",
            hint="split it into files with fewer traces, or write one object a line",
        )
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise TraceFormatError(f"{what}: {error}", hint=WHOLE) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        hint = "the end of the document is missing" if "truncated" in str(error) else "the document must be valid JSON"
        raise TraceFormatError(f"{what}: invalid JSON: {error}", hint=hint) from None
    except RecursionError:
        raise TraceFormatError(f"{what}: the document is nested too deeply", hint=WHOLE) from None


def trace_id(text: str | None) -> str:
    """Return a trace id as 32 lower-case hex digits.

    text: up to 32 hex digits in any case; X-Ray's form `1-5759e988-bd862e3fe1be46a994272793`; or 16 bytes in base64,
    as JSON made from protobuf has them.

    Raises:
        TraceFormatError: the id is missing or invalid. The message is to be completed with its place.
    """
    try:
        number = b"" if not text else bytes.fromhex(text) if len(text) == 32 else _of_other_form(text, 16)
    except ValueError:
        number = b""
    if len(number) != 16 or not any(number):
        raise TraceFormatError("missing or invalid trace id: must be 32 hex digits, and not all 0")
    return number.hex()


def span_id(text: str | None) -> str:
    """Return a span id as 16 lower-case hex digits. text: up to 16 hex digits in any case, or 8 bytes in base64.

    Raises:
        TraceFormatError: the id is missing or invalid. The message is to be completed with its place.
    """
    found = parent_id(text)
    if not found:
        raise TraceFormatError("missing or invalid span id: must be 16 hex digits, and not all 0")
    return found


def parent_id(text: str | None) -> str:
    """Return the id of a parent like `span_id`, or "" without a parent: the text is empty or all digits are 0.

    Raises:
        TraceFormatError: the id is invalid.
    """
    if not text:
        return ""
    try:
        number = bytes.fromhex(text) if len(text) == 16 else _of_other_form(text, 8)
    except ValueError:
        number = b""
    if len(number) != 8:
        raise TraceFormatError("invalid span id: must be 16 hex digits")
    return number.hex() if any(number) else ""


def _of_other_form(text: str, n_bytes: int) -> bytes:
    """Return the bytes of an id that is shorter than usual, in X-Ray's form, or in base64.

    Raises:
        ValueError: the text is no such id.
    """
    if len(text) == (n_bytes + 2) // 3 * 4 and text.endswith("="):
        try:
            return b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError from None
    if n_bytes == 16 and text.startswith("1-"):
        text = text[2:].replace("-", "")
        return bytes.fromhex(text) if len(text) == 32 else b""
    return bytes.fromhex(text.zfill(2 * n_bytes)) if 0 < len(text) < 2 * n_bytes and text.isalnum() else b""


def nanoseconds(value: int | str | None) -> int:
    """Return a time or duration in ns as OTLP JSON writes it: an integer, or its digits in quotes; 0 without one.

    Raises:
        TraceFormatError: the value is negative, after the year 2262, or has other characters than digits.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        # `int` also reads "1_000", " 1" and digits of other scripts, and takes a long time for a long text.
        if len(value) > 20 or not (value.isascii() and value.isdecimal()):
            if not value:
                return 0
            raise TraceFormatError("invalid time: must be an integer number of ns, from 0")
        value = int(value)
    return whole_ns(value, 1)


def checked_start(ns: int) -> int:
    """Return the start of a span in OTLP, where 0 means that it is missing.

    Raises:
        TraceFormatError: it is missing.
    """
    if ns == 0:
        raise TraceFormatError("missing startTimeUnixNano: each span must have one")
    return ns


def whole_ns(value: float, unit_ns: int) -> int:
    """Return a time or duration in ns. value: in units of `unit_ns`. A fraction is rounded to whole ns.

    Raises:
        TraceFormatError: the value is not finite, negative, or after the year 2262.
    """
    if not isinstance(value, int):
        if not isfinite(value):
            raise TraceFormatError("invalid time: must be a finite number")
        value, unit_ns = round(value * unit_ns), 1
    ns = value * unit_ns
    if not 0 <= ns < _LAST_NS:
        raise TraceFormatError("invalid time: must be from 1970 to 2262, and durations at least 0")
    return ns


def kind_named(text: str) -> Kind:
    """Return the kind with this name in any case, such as "SERVER" or "SPAN_KIND_SERVER"; unknown ones are internal."""
    return _KINDS.get(text.upper().removeprefix("SPAN_KIND_"), "internal")
