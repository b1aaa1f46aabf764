"""The streams of tests/data/llm as lists of events, made by the reader and the decoders of loadgen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.clients.events import SseReader
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.types import Part
from loadgen.measure.conventions import Event
from loadgen.measure.event_list import EventList
from loadgen.measure.streams import StreamTimes, times_of

__all__ = ["STREAMS", "Recording", "golden", "load", "stream_times"]

FOLDER = Path(__file__).resolve().parent.parent / "data/llm"
STREAMS = (
    "openai_chat",
    "openai_responses",
    "anthropic",
    "vllm_continuous_usage",
    "reasoning",
    "tool_calls",
    "truncated",
    "error_in_band",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One stream. chunks: for each event, the number of the SSE event that it was part of."""

    events: list[Event]
    chunks: list[int]
    parts: list[Part]
    file: dict[str, Any]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if part.kind == "content")


def load(name: str) -> Recording:
    """Return the recorded stream, decoded."""
    file = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    api, reader = APIS[file["api"]], SseReader()
    found = Recording([], [], [], file)
    t_ns, number = 0, 0
    for read in [*file["reads"], None]:
        if read is not None:
            t_ns = round(read["t_ms"] * 1e6)
        for event in reader.close() if read is None else reader.feed(read["sse"].encode()):
            number += 1
            for part in api.decode(event.event, event.data):
                part.t_ns = t_ns
                found.parts.append(part)
                found.events.append((t_ns, part.kind, part.tokens))
                found.chunks.append(number)
    return found


def golden() -> tuple[list[Event], dict[str, Any]]:
    """Return the golden stream with its known token counts, and the figures that its file expects."""
    file = json.loads((FOLDER / "golden_stream.json").read_text(encoding="utf-8"))
    events: list[Event] = []
    for event in file["events"]:
        data = event["data"] if isinstance(event["data"], str) else json.dumps(event["data"])
        (part,) = APIS["chat"].decode("message", data.encode())
        events.append((round(event["t_ms"] * 1e6), part.kind, event.get("tokens", part.tokens)))
    return events, file["expected_ms"]


def stream_times(t_ns: Sequence[int], kinds: Sequence[int], tokens: Sequence[int], **more: Any) -> StreamTimes:
    """Return our figures of one stream from three parallel lists. more: the other arguments of `times_of`."""
    return times_of(EventList.of(t_ns, kinds, tokens), **more)
