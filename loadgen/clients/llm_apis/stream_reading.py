"""Reads the answer of a model while it arrives: from bytes to parts, their times, the text, and how it ended.

`StreamReading` has no connection. A reply of `user.llm` passes it bytes, or the answer of an SDK over `user.httpx`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from loadgen.clients.events import SseReader
from loadgen.clients.llm_apis.answers import stream_outcome, tool_calls
from loadgen.clients.llm_apis.types import Api, Part, ToolCall, Usage
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.errors import RequestFailed
from loadgen.measure.conventions import Convention, Event, Figures, chunks_of, figures
from loadgen.measure.event_list import EventList
from loadgen.measure.streams import KIND_NUMBERS, KINDS, USAGE, EventKind, StreamTimes, TokenSource, times_of

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


_NO_USAGE: Final = Usage()


class StreamReading:
    """One answer of a model, as read so far. Times are `perf_counter_ns`."""

    __slots__ = (
        "_decode",
        "_events",
        "_reader",
        "_text_size",
        "_tools",
        "error",
        "finish",
        "first_ns",
        "has_choices",
        "joined",
        "parts",
        "texts",
        "token_events",
        "usage",
        "usage_source",
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
        self.usage = _NO_USAGE
        self.usage_source: TokenSource = "server"
        self.has_choices = False
        """There is generated text of further choices, which is not kept."""
        self.finish = ""
        self.error = ""
        """Text of the first error that the server sent in the stream."""
        self._text_size = 0
        """Characters of generated text so far."""
        self._tools: list[Part] = []
        self.parts: list[Part] | None = None
        """Parts that the journey has not read yet; None if the journey does not read parts."""
        self.joined: list[int] = []
        """For each event with several parts, the index of the first one and their number, one after the other."""

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
        first = len(events.kinds) if len(parts) > 1 else -1
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
                elif part.choice:
                    self.has_choices = True
            if kind != "content":
                self._other(part)
            if part.usage is not None:
                self.usage = self.usage.then(part.usage)
            if self.parts is not None:
                part.t_ns = now_ns
                self.parts.append(part)
        if first >= 0 and (count := len(events.kinds) - first) > 1:
            self.joined += (first, count)

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

    def countable_texts(self) -> list[str]:
        """Return the generated texts whose tokens are those of the answer; none if not all text was kept.

        Of calls of tools these are the names and arguments; the tokens of their syntax are not known.
        """
        if self.has_choices or len(self._tools) >= _MOST_PIECES:
            return []
        texts = [self.text_of(kind) for kind in self.texts if kind != "tool_call"]
        return texts + [call.name + call.arguments for call in self.tool_calls]

    @property
    def needs_count(self) -> bool:
        """Return whether the server sent no usage, and no tokenizer has counted the answer."""
        return self.usage.output <= 0 and self.usage_source == "server"

    def count_missing(self, count: Callable[[Sequence[str]], int]) -> None:
        """Count the tokens of an answer that needs it. count: returns the tokens of several texts together."""
        if self.needs_count:
            self.take_count(count(self.countable_texts()))

    def take_count(self, tokens: int) -> None:
        """Add the number of tokens that a tokenizer counted in the whole answer, as if it were usage."""
        if tokens > 0 and len(self._events):
            self._events.add(self._events.last_ns, USAGE, tokens)
            self.usage_source = "tokenizer"
            self._join_last()

    def _join_last(self) -> None:
        """Make the last part one of the event of the part before it."""
        joined, count = self.joined, len(self._events)
        if joined and joined[-2] + joined[-1] == count - 1:
            joined[-1] += 1
        else:
            joined += (count - 2, 2)

    def outcome(self) -> str:
        """Return the outcome of an answer that has ended and whose status was not an error."""
        return stream_outcome(self.kinds)

    def figures(self, convention: Convention, asked_ns: int) -> Figures:
        """Return the figures of the stream as another tool defines them."""
        events: list[Event] = [
            (t_ns - asked_ns, KINDS[kind], tokens)
            for t_ns, kind, tokens in zip(self.t_ns, self.kinds, self.tokens, strict=True)
        ]
        return figures(events, convention, chunks=chunks_of(self.joined, len(events)))

    @property
    def hidden_tokens(self) -> int:
        """Return the reasoning tokens that the server counts and does not send."""
        return max(0, self.usage.reasoning) if "reasoning" not in self.texts else 0

    def kept_events(self, *, is_stamped: bool) -> StreamEvents:
        """Return the events of an answer that has ended. is_stamped: their times are the kernel's."""
        return StreamEvents(
            self.t_ns, self.kinds, self.tokens, self.joined, self.usage.prompt, self.hidden_tokens, is_stamped
        )

    def times(self, asked_ns: int, closed_ns: int) -> StreamTimes:
        """Return the figures of the stream by our convention. closed_ns: when the answer ended."""
        usage = self.usage
        return times_of(
            self._events,
            asked_ns=asked_ns,
            first_byte_ns=self.first_ns or -1,
            closed_ns=closed_ns,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            reasoning_tokens=usage.reasoning,
            hidden_tokens=self.hidden_tokens,
            usage_source=self.usage_source,
        )
