"""A script: one exact stream, read from JSON. `docs/target-llm.md` describes its keys.

Reading checks every key and reports all faults at once, each with its place.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from loadgen.units import parse_duration

__all__ = ["Script", "ScriptEvent", "ScriptWrite", "read_scripts", "script_of"]

KINDS: Final = (
    *("role", "reasoning", "content", "refusal", "tool_name", "tool_call"),
    *("finish", "usage", "done", "error", "comment", "other"),
)
LINE_ENDS: Final = MappingProxyType({"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"})
ENDS: Final = ("complete", "close", "cut", "reset", "stall")
_SSE: Final = MappingProxyType({"content-type": "text/event-stream; charset=utf-8"})
_MOST_WRITES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class ScriptEvent:
    """One event of a write. data: its JSON or text as it is sent, instead of what the API's format makes."""

    kind: str
    text: str = ""
    tokens: int = 0
    choice: int = 0
    reason: str = "stop"
    name: str = ""
    data: bytes | None = None
    has_tokens: bool = False
    """The script gives `tokens`."""


@dataclass(frozen=True, slots=True)
class ScriptWrite:
    """One write, or `repeat` equal ones. data: raw bytes, which are sent before the events."""

    at_ns: int
    events: tuple[ScriptEvent, ...] = ()
    data: bytes = b""
    fill: int = 1
    """The raw bytes are sent this many times in a row."""
    repeat: int = 1
    every_ns: int = 0
    cut_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """One exact response."""

    name: str
    writes: tuple[ScriptWrite, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: _SSE)
    end: str = "complete"
    step_ns: int = 0
    line_end: bytes = b"\n"
    cut_every: int = 0
    cut_gap_ns: int = 0
    cuts_wire: bool = False
    """Cuts count from the chunk's size line, and so cut within a chunk."""
    is_gzip: bool = False
    is_continuous: bool = False
    prompt_tokens: int | None = None


_SCRIPT_KEYS: Final = (
    *("format", "name", "writes", "status", "headers", "end", "step", "line_end"),
    *("cut_every", "cut_gap", "cut_in", "gzip", "usage", "prompt_tokens"),
)
_WRITE_KEYS: Final = ("at", "events", "bytes", "base64", "fill", "repeat", "every", "cut_at")
_EVENT_KEYS: Final = ("kind", "text", "tokens", "choice", "reason", "name", "data", "raw")


def read_scripts(path: Path) -> tuple[Script, ...]:
    """Return the scripts of a file: a JSON object, a list of them, or one on each line (JSONL).

    Raises:
        ValueError: the file cannot be read, or it has faults: all of them, one a line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"no ready-made script and no file {path}: {error.strerror}; docs/target-llm.md lists the ready-made ones"
        ) from None
    if not content.strip():
        raise ValueError(f"{path}: the file has no script; write at least one")
    faults: list[str] = []
    found: list[tuple[str, Any]] = []
    try:
        value = msgspec.json.decode(content)
        found = [(f"{path}: ", one) for one in (value if isinstance(value, list) else [value])]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lines = [(n, line) for n, line in enumerate(content.splitlines(), 1) if line.strip()]
        for number, line in lines:
            try:
                found.append((f"{path}:{number}: ", msgspec.json.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
                faults.append(f"{path}:{number}: not JSON: {wrong}")
        if len(faults) == len(lines):
            # Not one line is JSON, so it is one broken document and not JSON lines.
            raise ValueError(f"{path}: not JSON: {error}") from None
    scripts = [script_of(value, path.stem, place, faults) for place, value in found]
    if not scripts and not faults:
        faults.append(f"{path}: the file has no script; write at least one")
    if faults:
        raise ValueError("\n".join(faults))
    return tuple(scripts)


def script_of(value: Any, name: str, place: str, faults: list[str]) -> Script:
    """Return the script of a JSON object, and append its faults to `faults`. place: begins each fault."""
    read = _Reader(value, place, faults, _SCRIPT_KEYS)
    status = read.number("status", 200, 100)
    writes = read.list("writes")
    if not writes and "writes" not in read.value:
        read.fault("writes", "is missing")
    headers = read.value.get("headers", dict(_SSE))
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        read.fault("headers", "must be an object of texts")
        headers = {}
    usage = read.choice("usage", "end", ("end", "continuous"))
    made = tuple(_write(one, f"{place}writes[{at}].", faults) for at, one in enumerate(writes))
    if sum(write.repeat for write in made) > _MOST_WRITES:
        read.fault("writes", f"has more than {_MOST_WRITES} writes")
    for at, (before, after) in enumerate(pairwise(made)):
        if after.at_ns < before.at_ns + (before.repeat - 1) * before.every_ns:
            faults.append(f"{place}writes[{at + 1}].at: must not be earlier than the write before it")
    return Script(
        name=read.text("name", name),
        writes=made,
        status=status,
        headers=headers,
        end=read.choice("end", "complete", ENDS),
        step_ns=read.duration("step"),
        line_end=LINE_ENDS[read.choice("line_end", "lf", tuple(LINE_ENDS))],
        cut_every=read.number("cut_every", 0, 0),
        cut_gap_ns=read.duration("cut_gap"),
        cuts_wire=read.choice("cut_in", "body", ("body", "wire")) == "wire",
        is_gzip=read.flag("gzip"),
        is_continuous=usage == "continuous",
        prompt_tokens=read.number("prompt_tokens", 0, 0) if "prompt_tokens" in read.value else None,
    )


def _write(value: Any, place: str, faults: list[str]) -> ScriptWrite:
    read = _Reader(value, place, faults, _WRITE_KEYS)
    if "at" not in read.value:
        read.fault("at", "is missing")
    data = read.text("bytes", "").encode()
    if "base64" in read.value:
        try:
            data = base64.b64decode(read.text("base64", ""), validate=True)
        except ValueError:
            read.fault("base64", "is not base64")
    cuts = read.list("cut_at")
    if any(not isinstance(one, int) or one < 1 for one in cuts) or sorted(set(cuts)) != cuts:
        read.fault("cut_at", "must be a list of ascending positions from 1")
        cuts = []
    return ScriptWrite(
        at_ns=read.duration("at"),
        events=tuple(_event(e, f"{place}events[{at}].", faults) for at, e in enumerate(read.list("events"))),
        data=data,
        fill=read.number("fill", 1, 1),
        repeat=read.number("repeat", 1, 1),
        every_ns=read.duration("every"),
        cut_at=tuple(cuts),
    )


def _event(value: Any, place: str, faults: list[str]) -> ScriptEvent:
    read = _Reader(value, place, faults, _EVENT_KEYS)
    data = msgspec.json.encode(read.value["data"]) if "data" in read.value else None
    if "raw" in read.value:
        data = read.text("raw", "").encode()
    return ScriptEvent(
        kind=read.choice("kind", "content" if data is None else "other", KINDS),
        text=read.text("text", ""),
        tokens=read.number("tokens", 0, 0),
        choice=read.number("choice", 0, 0),
        reason=read.text("reason", "stop"),
        name=read.text("name", ""),
        data=data,
        has_tokens="tokens" in read.value,
    )


class _Reader:
    """Reads the keys of one JSON object. A wrong value is a fault, and its default is returned."""

    def __init__(self, value: Any, place: str, faults: list[str], keys: Iterable[str]) -> None:
        self._place, self._faults = place, faults
        if not isinstance(value, dict):
            faults.append(f"{place.rstrip('. ')}: must be a JSON object")
            value = {}
        self.value: dict[str, Any] = value
        for key in value:
            if key not in keys:
                self.fault(key, f"unknown key; use one of {', '.join(sorted(keys))}")

    def fault(self, key: str, message: str) -> None:
        self._faults.append(f"{self._place}{key}: {message}")

    def text(self, key: str, otherwise: str) -> str:
        value = self.value.get(key, otherwise)
        if not isinstance(value, str):
            self.fault(key, "must be a text")
            return otherwise
        return value

    def flag(self, key: str) -> bool:
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            self.fault(key, "must be true or false")
            return False
        return value

    def number(self, key: str, otherwise: int, least: int) -> int:
        value = self.value.get(key, otherwise)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.fault(key, f"must be an integer of at least {least}")
            return otherwise
        return value

    def list(self, key: str) -> list[Any]:
        value = self.value.get(key, [])
        if not isinstance(value, list):
            self.fault(key, "must be a list")
            return []
        return value

    def choice(self, key: str, otherwise: str, choices: tuple[str, ...]) -> str:
        value = self.value.get(key, otherwise)
        if value not in choices:
            self.fault(key, f"must be one of {', '.join(choices)}")
            return otherwise
        return str(value)

    def duration(self, key: str) -> int:
        value = self.value.get(key, 0)
        try:
            return parse_duration(value)
        except (ValueError, TypeError, AttributeError) as error:
            self.fault(key, str(error))
            return 0
