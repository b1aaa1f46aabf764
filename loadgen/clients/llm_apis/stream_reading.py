"""Reads the answer of a model while it arrives: from bytes to parts, their times, the text, and how it ended.

It is no reply and no connection: a reply of `user.llm` feeds it, and so does the answer of an SDK over `user.httpx`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen.clients.events import SseReader
from loadgen.clients.llm_apis.answers import stream_outcome, tool_calls
from loadgen.clients.llm_apis.types import Api, Part, ToolCall, Usage
from loadgen.errors import RequestFailed
from loadgen.measure.conventions import Convention, Event, Figures, figures
from loadgen.measure.event_list import EventList
from loadgen.measure.streams import KIND_NUMBERS, KINDS, EventKind, StreamTimes, times_of

__all__ = ["ANSWER_TOO_LARGE", "LEFT", "STALLED", "StreamReading"]

ANSWER_TOO_LARGE: Final = "answer too large"
"""Outcome: a stream has more text than `_MOST_TEXT`."""
STALLED: Final = "stream stalled"
"""Outcome: no byte came for longer than `Llm(idle=...)`, after the first token."""
LEFT: Final = "left"
"""Outcome: the journey left its `async with user.llm.stream(...)` block before the answer was over."""

_MOST_PARTS: Final = 1_000_000
"""Parts of one answer whose times are kept. No model writes more; a server in a loop does."""
_MOST_TEXT: Final = 64 * 1024 * 1024
"""Characters of generated text of one answer. Without a limit, a server in a loop would fill the memory."""
_MOST_PIECES: Final = 100_000
"""Pieces of tool calls that are kept: each takes some 250 B."""
_ENDS: Final = frozenset({"finish", "usage", "done", "error"})
"""Kinds that decide how an answer ended. The first of each is kept also after `_MOST_PARTS`."""
_GENERATED: Final = frozenset({"reasoning", "content", "tool_call", "refusal"})


class StreamReading:
    """One answer of a model, as read so far. Times are `perf_counter_ns`."""

    __slots__ = (
        "_decode",
        "_events",
        "_reader",
        "_text_size",
        "_tools",
        "chunks",
        "error",
        "finish",
        "first_ns",
        "parts",
        "texts",
        "token_events",
        "usage",
    )

    def __init__(self, api: Api) -> None:
        self._decode = api.decode
        self._reader = SseReader()
        self.first_ns = 0
        """When the first byte of the body came; 0: none has come."""
        self._events = EventList()
        """Time, kind (number) and tokens of each part."""
        self.texts: dict[str, bytearray] = {}
        """Generated text of the first choice as UTF-8, by kind. A list of its pieces would keep 60 B more for each."""
        self.token_events = 0
        """Events with generated tokens so far; several choices in one event are one each."""
        self.usage = Usage()
        self.finish = ""
        self.error = ""
        """Text of the first error that the server sent in the stream."""
        self._text_size = 0
        """Characters of generated text so far."""
        self._tools: list[Part] = []
        self.parts: list[Part] | None = None
        """Parts that nobody has read yet; None: nobody reads parts."""
        self.chunks: list[int] | None = None
        """For each part, the number of the event that had it; None: nobody needs it."""

    def feed(self, data: bytes, now_ns: int) -> bool:
        """HOT, once a read: budget 2 µs an event (bench/llm.py). Read more bytes of the stream.

        Returns:
            True if there are new parts.

        Raises:
            RequestFailed: an event, or the text of the whole answer, is too large.
        """
        if not self.first_ns:
            self.first_ns = now_ns
        found = self._reader.feed(data)
        for event in found:
            self.add(self._decode(event.event, event.data), now_ns)
        if self._text_size > _MOST_TEXT:
            raise RequestFailed(ANSWER_TOO_LARGE, f"the answer has more than {_MOST_TEXT:,} characters of text")
        return bool(found)

    def close(self, now_ns: int) -> None:
        """Read the last event, whose blank line may be missing, because the answer is over."""
        for event in self._reader.close():
            self.add(self._decode(event.event, event.data), now_ns)

    def add(self, parts: list[Part], now_ns: int) -> None:
        """HOT, once an event: budget 1 µs (bench/llm.py). Add the parts of one event that arrived at `now_ns`."""
        events = self._events
        for part in parts:
            kind = part.kind
            if len(events.kinds) < _MOST_PARTS or (kind in _ENDS and self._is_first_late(kind)):
                events.add(now_ns, KIND_NUMBERS[kind], part.tokens)
            if kind in _GENERATED:
                if part.tokens != 0:
                    self.token_events += 1
                text = part.text
                if text and not part.choice:
                    found = self.texts.get(kind)
                    if found is None:
                        found = self.texts[kind] = bytearray()
                    found += text.encode("utf-8", "surrogatepass")
                    self._text_size += len(text)
            if kind != "content":
                self._other(part)
            if part.usage is not None:
                self.usage = self.usage.then(part.usage)
            if self.parts is not None:
                part.t_ns = now_ns
                self.parts.append(part)
        if self.chunks is not None:
            number = self.chunks[-1] + 1 if self.chunks else 0
            self.chunks += [number] * (len(events) - len(self.chunks))

    def _is_first_late(self, kind: EventKind) -> bool:
        """Return whether a part is the first of its kind after `_MOST_PARTS`."""
        return KIND_NUMBERS[kind] not in self._events.kinds[_MOST_PARTS:]

    def _other(self, part: Part) -> None:
        match part.kind:
            case "finish":
                self.finish = self.finish or part.finish or part.text or "stop"
            case "error" if not self.error:
                self.error = part.error.message if part.error is not None else part.text or "error"
            case "tool_call" if len(self._tools) < _MOST_PIECES:
                self._tools.append(part)

    # -- results ---------------------------------------------------------------------------------

    @property
    def t_ns(self) -> Sequence[int]:
        """Return the time of each part."""
        return self._events.t_ns

    @property
    def kinds(self) -> bytearray:
        """Return the number of each part's kind."""
        return self._events.kinds

    @property
    def tokens(self) -> Sequence[int]:
        """Return the tokens of each part, or -1."""
        return self._events.tokens

    @property
    def text(self) -> str:
        """Return the content so far, without reasoning."""
        return self.text_of("content")

    @property
    def has_token(self) -> bool:
        """Return whether a generated token has come, text or not."""
        return bool(self.token_events)

    @property
    def reasoning(self) -> str:
        return self.text_of("reasoning")

    def text_of(self, kind: str) -> str:
        """Return the generated text of one kind so far."""
        return self.texts.get(kind, b"").decode("utf-8", "surrogatepass")

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Return the calls of tools that the model asked for."""
        return tool_calls(self._tools)

    def outcome(self) -> str:
        """Return the outcome of an answer that has ended and whose status was not an error."""
        return stream_outcome(self.kinds)

    def figures(self, convention: Convention, asked_ns: int) -> Figures:
        """Return the figures of the stream as another tool defines them."""
        events: list[Event] = [
            (t_ns - asked_ns, KINDS[kind], tokens)
            for t_ns, kind, tokens in zip(self.t_ns, self.kinds, self.tokens, strict=True)
        ]
        return figures(events, convention, chunks=self.chunks)

    def times(self, asked_ns: int, closed_ns: int) -> StreamTimes:
        """Return the figures of the stream by our convention. closed_ns: when the answer ended."""
        usage = self.usage
        # Reasoning that the server counts and does not send. It cannot be in the gaps between tokens.
        hidden = max(0, usage.reasoning) if "reasoning" not in self.texts else 0
        return times_of(
            self._events,
            asked_ns=asked_ns,
            first_byte_ns=self.first_ns or -1,
            closed_ns=closed_ns,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            reasoning_tokens=usage.reasoning,
            hidden_tokens=hidden,
        )
