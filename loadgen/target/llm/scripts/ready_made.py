"""The ready-made scripts. `docs/target-llm.md` has a line for each."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from loadgen.target.llm.scripts.script import Script, script_of

__all__ = ["NAMES", "ready_made"]

_Json = dict[str, Any]

_ROLE: Final[_Json] = {"at": "100ms", "events": [{"kind": "role"}]}
_NOT_A_STREAM: Final = '{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":'


def _tokens(at: str = "200ms", count: int = 10, every: str = "20ms", **event: Any) -> _Json:
    """Return `count` writes of one event each."""
    one = {"kind": "content", "text": " lamp", "tokens": 1, **event}
    return {"at": at, "repeat": count, "every": every, "events": [one]}


def _close(at: str = "400ms", *kinds: str) -> _Json:
    """Return the write that ends a stream: finish, usage and done, or these kinds."""
    return {"at": at, "events": [{"kind": kind} for kind in kinds or ("finish", "usage", "done")]}


def _page(status: int, kind: str, text: str) -> _Json:
    return {"status": status, "headers": {"content-type": kind}, "writes": [{"at": "100ms", "bytes": text}]}


def _usage(tokens: int) -> _Json:
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return {"choices": [{"index": 0, "delta": {"content": " lamp"}, "finish_reason": None}], "usage": usage}


_GOLDEN: Final[list[_Json]] = [
    _ROLE,
    {"at": "200ms", "events": [{"kind": "reasoning", "text": "think hard", "tokens": 2}]},
    {"at": "300ms", "events": [{"kind": "content", "text": "A", "tokens": 1}]},
    {
        "at": "340ms",
        "events": [
            {"kind": "content", "text": "B C D", "tokens": 3},
            {"kind": "content", "text": "E", "tokens": 1},
        ],
    },
    {"at": "420ms", "events": [{"kind": "content", "text": "F G", "tokens": 2}]},
    {"at": "425ms", "events": [{"kind": "finish"}]},
    {"at": "430ms", "events": [{"kind": "usage"}]},
    {"at": "431ms", "events": [{"kind": "done"}]},
]
_SHORT: Final[list[_Json]] = [
    {"at": "50ms", "events": [{"kind": "role"}]},
    {"at": "200ms", "events": [{"kind": "content", "text": "Zürich", "tokens": 1}]},
    {"at": "500ms", "events": [{"kind": "content", "text": "漢字 🦉", "tokens": 3}]},
    {"at": "900ms", "events": [{"kind": "finish"}, {"kind": "usage"}, {"kind": "done"}]},
]
"""Texts with characters of 2 to 4 bytes, and room for cuts between the writes."""

_SCRIPTS: Final[dict[str, _Json]] = {
    # Complete streams.
    "golden": {"prompt_tokens": 5, "writes": _GOLDEN},
    "steps": {"step": "20ms", "writes": [_ROLE, _tokens(count=50), _close("1200ms")]},
    "speculative": {"writes": [_ROLE, _tokens(text=" the oak lamp is", tokens=4), _close()]},
    "coalesced": {
        "writes": [
            _ROLE,
            {**_tokens(), "events": [{"kind": "content", "text": " lamp", "tokens": 1} for _ in range(3)]},
            _close(),
        ]
    },
    "reasoning": {
        "writes": [_ROLE, _tokens(kind="reasoning", text=" hm"), _tokens("400ms"), _close("600ms")],
    },
    "tool-call": {
        "writes": [
            _ROLE,
            {"at": "200ms", "events": [{"kind": "tool_name", "text": "stock", "tokens": 1}]},
            {"at": "220ms", "events": [{"kind": "tool_call", "text": '{"sku":', "tokens": 3}]},
            {"at": "240ms", "events": [{"kind": "tool_call", "text": '"oak"}', "tokens": 2}]},
            {
                "at": "260ms",
                "events": [{"kind": "finish", "reason": "tool_calls"}, {"kind": "usage"}, {"kind": "done"}],
            },
        ]
    },
    "refusal": {"writes": [_ROLE, _tokens(kind="refusal", text=" no", count=3), _close()]},
    "usage-none": {"writes": [_ROLE, _tokens(), _close("400ms", "finish", "done")]},
    "usage-continuous": {"usage": "continuous", "writes": [_ROLE, _tokens(tokens=2), _close()]},
    "no-tokens": {"writes": [_ROLE, _close()]},
    "gzip": {"gzip": True, "writes": [_ROLE, _tokens(), _close()]},
    # Other ways to write the same events.
    "crlf": {"line_end": "crlf", "writes": [_ROLE, _tokens(), _close()]},
    "crlf-cuts": {"line_end": "crlf", "cut_every": 1, "cut_gap": "200us", "writes": _SHORT},
    "cr": {"line_end": "cr", "writes": [_ROLE, _tokens(), _close()]},
    "utf8-cuts": {"cut_every": 1, "cut_gap": "200us", "writes": _SHORT},
    "chunk-cuts": {"cut_in": "wire", "cut_every": 1, "cut_gap": "200us", "writes": _SHORT},
    "comments": {
        "writes": [
            {"at": "50ms", "base64": "77u/", "events": [{"kind": "comment", "text": "OPENROUTER PROCESSING"}]},
            _ROLE,
            {"at": "150ms", "repeat": 3, "every": "10ms", "events": [{"kind": "comment", "text": "keep-alive"}]},
            _tokens(),
            {"at": "390ms", "bytes": ":\n\nretry: 3000\n\nid: 7\n\n"},
            _close(),
        ]
    },
    # Streams that fail.
    "no-done": {"writes": [_ROLE, _tokens(), _close("400ms", "finish", "usage")]},
    "no-last-blank-line": {
        "writes": [_ROLE, _tokens(), _close("400ms", "finish", "usage"), {"at": "410ms", "bytes": "data: [DONE]"}]
    },
    "error-in-band": {"writes": [_ROLE, _tokens(count=5), _close("300ms", "error")]},
    "truncated": {"end": "cut", "writes": [_ROLE, _tokens(count=5)]},
    "truncated-cleanly": {"writes": [_ROLE, _tokens(count=5)]},
    "closed": {"end": "close", "writes": [_ROLE, _tokens(count=5)]},
    "reset": {"end": "reset", "writes": [_ROLE, _tokens(count=5)]},
    "stall": {"end": "stall", "writes": [_ROLE, _tokens(count=5)]},
    "json": _page(200, "application/json", _NOT_A_STREAM + '"assistant","content":"A"},"finish_reason":"stop"}]}'),
    "html": _page(200, "text/html", "<!doctype html><title>Sign in</title><h1>Sign in</h1>"),
    "rate-limited": _page(429, "application/json", '{"error":{"message":"slow down","type":"rate_limit","code":429}}'),
    "redirect": {
        "status": 307,
        "headers": {"content-type": "text/plain", "location": "/moved/v1/chat/completions"},
        "writes": [{"at": "10ms"}],
    },
    # Events that a client must survive.
    "bad-json": {"writes": [_ROLE, _tokens(count=3), {"at": "300ms", "bytes": "data: {oak\n\n"}, _close()]},
    "two-finishes": {"writes": [_ROLE, _tokens(), _close("400ms", "finish", "finish", "usage", "done")]},
    "usage-falls": {
        "writes": [
            _ROLE,
            {"at": "200ms", "events": [{"kind": "content", "tokens": 1, "data": _usage(3)}]},
            {"at": "220ms", "events": [{"kind": "content", "tokens": 1, "data": _usage(2)}]},
            _close("400ms", "finish", "done"),
        ]
    },
    "not-utf8": {"writes": [_ROLE, {"at": "200ms", "base64": "ZGF0YTogeyLD/yI6MX0KCg=="}, _tokens("220ms"), _close()]},
    "nul": {"writes": [_ROLE, {"at": "200ms", "bytes": 'data: {"\0":1}\n\n'}, _tokens("220ms"), _close("410ms")]},
    "no-newline": {"writes": [_ROLE, {"at": "200ms", "repeat": 100, "every": "2ms", "bytes": "oak", "fill": 1000}]},
    "huge-event": {
        "writes": [
            _ROLE,
            {"at": "200ms", "bytes": "data: "},
            {"at": "200ms", "repeat": 64, "every": "5ms", "bytes": "oak ", "fill": 262_144},
            {"at": "600ms", "bytes": "\n\n"},
            _close("620ms"),
        ]
    },
    "many-events": {
        "writes": [
            _ROLE,
            {
                "at": "200ms",
                "repeat": 10_000,
                "every": "200us",
                "events": [{"kind": "content", "text": " a", "tokens": 1}] * 100,
            },
            _close("2300ms"),
        ]
    },
}

NAMES: Final = tuple(_SCRIPTS)


@cache
def ready_made(name: str) -> Script | None:
    """Return the ready-made script of that name, or None."""
    value = _SCRIPTS.get(name)
    return None if value is None else script_of(value, name, f"{name}: ", [])
