"""The ready-made scripts."""

from __future__ import annotations

from typing import Any, Final

from loadgen.target.llm.scripts.script import Script, script_of

__all__ = ["NAMES", "ready_made"]

_GOLDEN: Final[list[dict[str, Any]]] = [
    {"at": "100ms", "events": [{"kind": "role"}]},
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

_SCRIPTS: Final[dict[str, dict[str, Any]]] = {
    "golden": {"prompt_tokens": 5, "writes": _GOLDEN},
}

NAMES: Final = tuple(_SCRIPTS)


def ready_made(name: str) -> Script | None:
    """Return the ready-made script of that name, or None."""
    value = _SCRIPTS.get(name)
    return None if value is None else script_of(value, name, f"{name}: ", [])
