"""Reads the answer of a model while it arrives: from bytes to parts, their times, the text, and how it ended.

It is no reply and no connection: a reply of `user.llm` feeds it, and so does the answer of an SDK over `user.httpx`.
"""

from __future__ import annotations

from array import array
from typing import Final

from loadgen.clients.events import SseReader
from loadgen.clients.llm_apis.answers import stream_outcome, tool_calls
from loadgen.clients.llm_apis.types import Api, Part, ToolCall, Usage
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.errors import RequestFailed
from loadgen.measure.conventions import Convention, Event, Figures, chunks_of, figures
from loadgen.measure.streams import KIND_NUMBERS, KINDS, EventKind, StreamTimes, stream_times

__all__ = ["ANSWER_TOO_LARGE", "LEFT", "STALLED", "StreamReading"]

ANSWER_TOO_LARGE: Final = "answer too large"
"""Outcome: a stream has more text than `_MOST_TEXT`."""
STALLED: Final = "stream stalled"
"""Outcome: no byte came for longer than `Llm(idle=...)`, after the first token."""
LEFT: Final = "left"
"""Outcome: the journey left its `async with user.llm.stream(...)` block before the answer was over."""

_MOST_PARTS: Final = 1_000_000
"""Parts of one answer whose times are kept. No model writes more; a server in a loop does."""
_MOST_TOKENS: Final = 1 << 40
"""A server may send any number; this one still fits."""
_MANY_TEXTS: Final = 64
"""So many pieces of text are joined to one, because each keeps 60 B besides its characters."""
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
        "_reader",
        "_text_size",
        "_tools",
        "error",
        "finish",
        "first_ns",
        "joined",
        "kinds",
        "parts",
        "t_ns",
        "texts",
        "token_events",
        "tokens",
        "usage",
    )

    def __init__(self, api: Api) -> None:
        self._decode = api.decode
        self._reader = SseReader()
        self.first_ns = 0
        """When the first byte of the body came; 0: none has come."""
        self.t_ns = array("q")
        self.kinds = bytearray()
        self.tokens = array("q")
        """Time, kind (number) and tokens of each part. Lists would keep 60 B more for each."""
        self.texts: dict[str, list[str]] = {}
        """Generated text of the first choice, by kind."""
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
        self.joined: list[int] = []
        """Of each event with several parts, the index of the first one and their number, one after the other."""

    def feed(self, data: bytes, now_ns: int) -> bool:
        """HOT, once a read: budget 2 µs an event (bench/llm.py). Read more bytes of the stream.

        Returns:
            True if there are new parts.

        Raises:
            RequestFailed: an event, or the text of the whole answer, is too large.
        """
        if not self.first_ns:
            self.first_ns = now_ns
        events = self._reader.feed(data)
        for event in events:
            self.add(self._decode(event.event, event.data), now_ns)
        if self._text_size > _MOST_TEXT:
            raise RequestFailed(ANSWER_TOO_LARGE, f"the answer has more than {_MOST_TEXT:,} characters of text")
        return bool(events)

    def close(self, now_ns: int) -> None:
        """Read the last event, whose blank line may be missing, because the answer is over."""
        for event in self._reader.close():
            self.add(self._decode(event.event, event.data), now_ns)

    def add(self, parts: list[Part], now_ns: int) -> None:
        """HOT. Add the parts of one event that arrived at `now_ns`."""
        first = len(self.t_ns) if len(parts) > 1 else -1
        for part in parts:
            kind = part.kind
            if len(self.t_ns) < _MOST_PARTS or (kind in _ENDS and self._is_first_late(kind)):
                self.t_ns.append(now_ns)
                self.kinds.append(KIND_NUMBERS[kind])
                self.tokens.append(part.tokens if part.tokens < _MOST_TOKENS else _MOST_TOKENS)
            if kind in _GENERATED:
                if part.tokens != 0:
                    self.token_events += 1
                if part.text and not part.choice:
                    found = self.texts.get(kind)
                    if found is None:
                        found = self.texts[kind] = []
                    found.append(part.text)
                    self._text_size += len(part.text)
                    if not self.token_events % _MANY_TEXTS:
                        found[-_MANY_TEXTS:] = ("".join(found[-_MANY_TEXTS:]),)
            if kind != "content":
                self._other(part)
            if part.usage is not None:
                self.usage = self.usage.then(part.usage)
            if self.parts is not None:
                part.t_ns = now_ns
                self.parts.append(part)
        if first >= 0 and (count := len(self.t_ns) - first) > 1:
            self.joined += (first, count)

    def _is_first_late(self, kind: EventKind) -> bool:
        """Return whether a part is the first of its kind after `_MOST_PARTS`."""
        return KIND_NUMBERS[kind] not in self.kinds[_MOST_PARTS:]

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
    def text(self) -> str:
        """Return the content so far, without reasoning."""
        return "".join(self.texts.get("content", ()))

    @property
    def has_token(self) -> bool:
        """Return whether a generated token has come, text or not."""
        return bool(self.token_events)

    @property
    def reasoning(self) -> str:
        return "".join(self.texts.get("reasoning", ()))

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
        return figures(events, convention, chunks=chunks_of(self.joined, len(events)))

    @property
    def hidden_tokens(self) -> int:
        """Return the reasoning tokens that the server counts and does not send."""
        return max(0, self.usage.reasoning) if "reasoning" not in self.texts else 0

    def events(self, *, is_stamped: bool) -> StreamEvents:
        """Return the events of an answer that has ended. is_stamped: their times are the kernel's."""
        return StreamEvents(
            self.t_ns, self.kinds, self.tokens, self.joined, self.usage.prompt, self.hidden_tokens, is_stamped
        )

    def times(self, asked_ns: int, closed_ns: int) -> StreamTimes:
        """Return the figures of the stream by our convention. closed_ns: when the answer ended."""
        usage = self.usage
        return stream_times(
            self.t_ns,
            self.kinds,
            self.tokens,
            asked_ns=asked_ns,
            first_byte_ns=self.first_ns or -1,
            closed_ns=closed_ns,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            reasoning_tokens=usage.reasoning,
            hidden_tokens=self.hidden_tokens,  # they cannot be in the gaps between tokens
        )
