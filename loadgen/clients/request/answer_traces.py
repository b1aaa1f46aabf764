"""The trace id that an answer names, if an edge of the target began a trace of its own.

| header | counts with the format | source |
| --- | --- | --- |
| `traceresponse: 00-TRACE-SPAN-FLAGS` | w3c | W3C trace context level 2 |
| `Server-Timing: traceparent;desc="00-TRACE-SPAN-FLAGS"` | w3c | OpenTelemetry's and Splunk's agents |
| `X-Amzn-Trace-Id: Root=1-TIME-RANDOM;Sampled=1` | xray | AWS X-Ray |

A header of another tracing system than the plan's is ignored: a gateway that adds an id of X-Ray does not change where
the services store traces with `traceparent`. An id that the answer marks as not sampled is ignored, too, because its
trace cannot be read. See docs/decisions/115-the-id-that-an-answer-names.md.

The headers come from the target, so they may have any content: they must match a pattern, and at most
`_MOST_BYTES` of each are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["INVALID", "answer_headers", "named_trace"]

INVALID: Final = "?"
"""The result of `named_trace` for headers without a valid id."""
_MOST_BYTES: Final = 1_024
_FORMATS: Final = {b"traceresponse": "w3c", b"server-timing": "w3c", b"x-amzn-trace-id": "xray"}
_TRACEPARENT: Final = rb"00-([0-9a-f]{32})-(?:[0-9a-f]{16})?-([0-9a-f]{2})"
_PATTERNS: Final = {
    b"traceresponse": re.compile(rb"\s*" + _TRACEPARENT + rb"\s*$"),
    b"server-timing": re.compile(rb'(?:^|.*[,\s])traceparent\s*;\s*desc="?' + _TRACEPARENT + rb'"?\s*(?:[,;]|$)'),
    b"x-amzn-trace-id": re.compile(rb"(?:^|.*;)\s*Root=1-([0-9a-f]{8}-[0-9a-f]{24})(?:;.*?Sampled=([01?]))?"),
}
_LENGTHS: Final = frozenset(map(len, _FORMATS))
_NO_TRACE: Final = "0" * 32


def answer_headers(formats: Sequence[str]) -> frozenset[bytes]:
    """Return the names of the response headers, in lower case, that can name a trace of these formats."""
    return frozenset(name for name, one in _FORMATS.items() if one in formats)


def named_trace(headers: Sequence[tuple[bytes, bytes]], names: frozenset[bytes]) -> str:
    """Return the trace id that an answer names, 32 hex digits; "" without one, `INVALID` if it is unreadable.

    HOT for sampled requests: 0.4 µs with ten headers. names: from `answer_headers`; others are ignored.
    """
    found = ""
    for name, value in headers:
        if len(name) not in _LENGTHS:
            continue
        lower = name.lower()
        if lower not in names or (lower == b"server-timing" and b"traceparent" not in value[:_MOST_BYTES]):
            continue
        match = _PATTERNS[lower].match(value[:_MOST_BYTES])
        if match is None:
            found = found or INVALID
            continue
        trace, flags = match[1].decode().replace("-", ""), match[2]
        if trace == _NO_TRACE:
            found = found or INVALID
        elif flags is None or (flags == b"1" if lower == b"x-amzn-trace-id" else int(flags, 16) & 1):
            return trace
    return found
