"""The reply of a model: `reply = await user.llm.chat(...)`.

The connection passes bytes to the reply as they arrive, so the journey's task does not run for each event. The time of
an event is the time of the read that contained it. At the end of the answer, the reply decides the outcome: an answer
with status 200 has failed if its stream broke, stalled, contained an error or had no token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, TypeVar

import msgspec

from loadgen.clients.events import NO_STREAM
from loadgen.clients.llm.call import LlmCall
from loadgen.clients.llm.tools import RunnableCall, ToolFunction
from loadgen.clients.llm_apis.openai_wire import UNREADABLE
from loadgen.clients.llm_apis.row_tags import tags_of
from loadgen.clients.llm_apis.stream_reading import LEFT, STALLED, StreamReading
from loadgen.clients.llm_apis.types import Part, Usage
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.decoding import DecodingError, Unpacker, decode
from loadgen.clients.protocol.outcomes import PROTOCOL, TIMEOUT, TOO_LARGE
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.format_exchange import MAX_SHOWN_BYTES
from loadgen.clients.response.streams import StreamedReply
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.stream_series import Goodput, RunningStream
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed
from loadgen.measure.convention_metrics import RecordedConvention
from loadgen.measure.conventions import Figures
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.streams import StreamTimes

__all__ = ["LlmReply"]

T = TypeVar("T")

_SSE: Final = b"text/event-stream"
_JSON: Final = b"json"


class LlmReply(StreamedReply):
    """The answer of a model, with its text and its times.

    Times are `perf_counter_ns`. `text`, `json()`, `pick` and `expect` use the generated text, not the stream's bytes.
    """

    __slots__ = (
        "_call",
        "_counted",
        "_is_stamped",
        "_times",
        "_token_ns",
        "_total_deadline_ns",
        "_unpacker",
        "_whole",
        "functions",
        "reading",
    )

    def __init__(
        self, call: LlmCall, meter: Meter, route: Route, sent: bytes, series: RequestSeries, asked_ns: int
    ) -> None:
        super().__init__(meter, route, sent, series, asked_ns)
        self._call = call
        self.reading: StreamReading | None = None
        """The parts of the answer so far; None until the head of a stream, or a whole answer, has arrived."""
        self.functions: dict[str, ToolFunction] = {}
        """The scenario's functions by the name of their tool."""
        self._times: StreamTimes | None = None
        self._unpacker: Unpacker | None = None
        self._total_deadline_ns = asked_ns + call.total_ns
        self._counted: StreamReads | None = None
        """The counter of the worker's reads, as long as the stream is open."""
        self._is_stamped = False
        """The first read with tokens had the kernel's time."""
        self._token_ns = 0
        """Time of the last read with tokens; 0 before the first one."""
        self._whole = bytearray()
        """The body so far, if the answer is not a stream."""
        self.body = b""
        """The body; for a stream only its beginning, which a stored failure shows."""
        if meter.recorder.watches_streams:
            call.running = meter.recorder.streams_of(series).begun(asked_ns, call.wait_ns, self._had_token, call.own)

    # -- called by the connection (http1.Sink) --------------------------------------------------

    def took_head(self, head: Head) -> None:
        self.head = head
        kind = head.get(b"content-type") or b""
        if head.status < 300 and kind.lower().startswith(_SSE):
            if head.zipped:
                try:
                    self._unpacker = Unpacker(head.encodings)
                except DecodingError:  # too many layers of Content-Encoding: not a stream
                    return
            self.reading = reading = StreamReading(self._call.api)
            if self._call.reads_parts:
                reading.parts = []
            if self._call.reads is not None:
                self._counted = self._call.reads
                self._counted.opened()

    def took(self, data: bytes, now_ns: int) -> bool:
        """HOT, once a read. Read the events in these bytes; see `StreamReading.feed` for its budget."""
        self.events += 1
        self._raw_bytes += len(data)
        reading = self.reading
        if reading is None:
            self._whole += data
            if len(self._whole) > self.limit_bytes:
                self._give_up(RequestFailed(TOO_LARGE, f"the answer has more than {self.limit_bytes} bytes"), now_ns)
            return False
        call = self._call
        if len(self.body) < MAX_SHOWN_BYTES:
            self.body += data
        before = reading.token_events
        try:
            if self._unpacker is None:
                has_parts = reading.feed(data, now_ns)
            else:
                has_parts = False
                for piece in self._unpacker.feed(data):
                    has_parts = reading.feed(piece, now_ns) or has_parts
        except DecodingError as error:
            self._give_up(RequestFailed(PROTOCOL, str(error)), now_ns)
            return False
        except RequestFailed as failure:
            self._give_up(failure, now_ns)
            return False
        if self._counted is not None and (events := reading.token_events - before):
            if before:
                self._counted.later(events, now_ns - self._token_ns)
            else:
                self._counted.first(events, now_ns - self.asked_ns)
                self._is_stamped = self._counted.lag_ns >= 0
            self._token_ns = now_ns
        if reading.has_token:  # each read restarts `idle`, also one of comments, which keep a stream alive
            deadline_ns = self._total_deadline_ns
            if call.idle_ns is not None and now_ns + call.idle_ns < deadline_ns:
                deadline_ns = now_ns + call.idle_ns
            self.source.allow_until(self, deadline_ns)
        if has_parts and call.reads_parts:
            self._wake()
        return False

    def _at_its_end(self) -> None:
        """Count the end of the stream, once, and keep the body of an answer that is not a stream."""
        counted, self._counted = self._counted, None
        if counted is not None and self.reading is not None:
            counted.closed(self.reading.token_events)
        if self._whole:
            self.body = bytes(self._whole)

    def ended(self) -> None:
        if self.reading is not None:
            self.reading.close(self.done_ns)
        self._at_its_end()
        self._is_whole = True
        self._wake()

    def broke(self, failure: RequestFailed) -> None:
        self._at_its_end()
        if failure.outcome == TIMEOUT and self._had_token() and self.done_ns < self._total_deadline_ns:
            idle_s = (self._call.idle_ns or 0) / 1e9
            failure = RequestFailed(STALLED, f"no byte for {idle_s:g} s after {len(self._tokens_text)} characters")
        super().broke(failure)

    def cut(self) -> None:
        self._at_its_end()
        if self._failure is not None:
            self._wake()
        else:
            super().cut()

    def _give_up(self, failure: RequestFailed, now_ns: int) -> None:
        """Fail the answer in the middle, at the time of this read, and close its connection."""
        self._failure = failure
        self.done_ns = now_ns
        self.source.abort()

    def opened(self, opening: Opening, outcome: str = OK) -> None:
        self._call.cold = self._call.cold or "connection"
        super().opened(opening, outcome)

    # -- the end --------------------------------------------------------------------------------

    def _record(self) -> None:
        """Record the ended request in the row that its tags select."""
        if not self._is_recorded:
            self._call.end()
            if self.reading is not None and self._call.worker.tokenizer is not None:  # unless `_count_tokens` did
                self.reading.count_missing(self._call.worker.tokenizer.count_all)
            self._times = self._figures()
            tags = tags_of(self._times, self._call.cold, is_whole=not self._call.wants_stream)
            exact = self._call.exact_tokens
            if exact and self.outcome is OK and self.usage.output > 0:
                note = self._call.worker.lengths.add(is_exact=self.usage.output == exact)
                if note:
                    self._meter.recorder.note(note)
            if tags:
                self.series = self.series.retagged(tags, self.asked_ns)
        super()._record()

    async def over(self) -> None:
        """Wait until the whole answer has arrived, decide its outcome, and record the request.

        Raises:
            RequestFailed: the stream broke off, or ended without a usable answer.
        """
        try:
            while not self._is_whole:
                if self._failure is not None:
                    await self._count_tokens()
                    raise self._break(self._failure)
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted
        except asyncio.CancelledError:
            self.abandon()
            raise
        if self.outcome is OK and self.status_code < 400:  # an accepted error has no tokens
            outcome, detail = self._ended_as()
            if outcome != OK:
                self.outcome = outcome
                await self._count_tokens()
                self._record()
                self._meter.settle()
                raise RequestFailed(outcome, f"{self.route.method} {self.route.url}: {detail}")
        if self._call.worker.tokenizer is not None:
            await self._count_tokens()
        self._record()

    async def _count_tokens(self) -> None:
        """Count the tokens of an answer that is over by the plan's tokenizer, if the server sent no usage.

        Both counts of the first answers with usage are compared.
        """
        tokenizer, reading = self._call.worker.tokenizer, self.reading
        if tokenizer is None or reading is None or self._is_recorded:
            return
        by_server = self._comparable_tokens(reading)
        if not (by_server or reading.needs_count):
            return
        try:
            counted = await tokenizer.count_aside(reading.countable_texts())
        except asyncio.CancelledError:
            if self._is_whole:  # it has ended, so it counts
                self._record()
            raise
        if not by_server:
            reading.take_count(counted)
        elif note := self._call.worker.comparison.add(by_server, counted):
            self._meter.recorder.note(note)

    def _comparable_tokens(self, reading: StreamReading) -> int:
        """Return the server's number of tokens if a tokenizer must count nearly the same in the text; else 0.

        Servers count the token that ends a text, which the text does not contain.
        """
        usage = reading.usage
        if usage.output <= 0 or self._call.worker.comparison.is_over or self.outcome is not OK:
            return 0
        if "tool_call" in reading.texts or (usage.reasoning > 0 and "reasoning" not in reading.texts):
            return 0
        return usage.output - (reading.finish == "stop")

    async def left(self) -> None:
        """End the stream when the journey leaves its block. The outcome is `LEFT` if the answer is still arriving."""
        if self._is_whole and not self._is_recorded:
            await self.over()
            return
        if not self._is_whole and self.outcome is OK:
            self.outcome = LEFT
        await self.aclose()

    def _ended_as(self) -> tuple[str, str]:
        """Return (outcome, detail) of an answer that has arrived completely and whose status is not an error."""
        reading = self.reading
        if reading is not None:
            return reading.outcome(), reading.error
        kind = (self.head.get(b"content-type") or b"").lower()
        if self._call.wants_stream or _JSON not in kind:
            shown = kind.decode("latin-1") or "no content type"
            return NO_STREAM, f"status {self.head.status} with {shown} instead of a stream of events"
        reading = self.reading = StreamReading(self._call.api)
        try:
            body = self.unpacked()
        except DecodingError as error:
            return PROTOCOL, str(error)
        reading.add(self._call.api.decode_reply(body), self.done_ns)
        return reading.outcome(), reading.error

    def unpacked(self) -> bytes:
        """Return the body of an answer that is not a stream, without its Content-Encoding.

        Raises:
            DecodingError: the body does not match its Content-Encoding.
        """
        return decode(self.body, self.head.encodings, self.limit_bytes) if self.head.zipped else self.body

    def abandon(self) -> None:
        self._call.end()
        if not self._is_recorded:
            self._call.gone()
        super().abandon()

    @property
    def wait_ns(self) -> int | None:
        return self._call.wait_ns

    @property
    def own_limits(self) -> Goodput | None:
        return self._call.own

    def take_running(self) -> RunningStream | None:
        """Return and remove the running request at its end, for objectives over windows; None without these."""
        running, self._call.running = self._call.running, None
        return running

    def stream_times(self) -> StreamTimes:
        """Return the figures of this answer by our convention (docs/llm-conventions.md). Before its end, these are the
        figures of the part that has arrived.
        """
        return self._figures() if self._times is None else self._times

    def _figures(self) -> StreamTimes:
        if self.reading is None:
            return StreamTimes(closed_ns=self.done_ns - self.asked_ns)
        return self.reading.times(self.asked_ns, self.done_ns)

    def convention_figures(self) -> Iterator[tuple[RecordedConvention, Figures]]:
        """Yield (tool, figures of this stream) for each other tool in `Llm(conventions=...)`."""
        if self.reading is not None and self._call.wants_stream:
            for name in self._call.conventions:
                yield name, self.reading.figures(name, self.asked_ns)

    def stream_events(self) -> StreamEvents | None:
        """Return the events of this stream, to be kept; None if the answer is not a stream."""
        if self.reading is None or not self._call.wants_stream:
            return None
        return self.reading.kept_events(is_stamped=self._is_stamped)

    # -- for journeys -----------------------------------------------------------------------------

    def _had_token(self) -> bool:
        """Return whether a generated token has arrived, with text or without."""
        return self.reading is not None and self.reading.has_token

    @property
    def _tokens_text(self) -> str:
        reading = self.reading
        return "" if reading is None else "".join(map(reading.text_of, reading.texts))

    @property
    def content(self) -> bytes:
        """Return the generated text as UTF-8."""
        return self.text.encode()

    @property
    def text(self) -> str:
        """Return the generated text, without reasoning."""
        return "" if self.reading is None else self.reading.text

    @property
    def reasoning(self) -> str:
        """Return the reasoning that the model wrote."""
        return "" if self.reading is None else self.reading.reasoning

    @property
    def tool_calls(self) -> list[RunnableCall]:
        """Return the calls of tools that the model asked for: `await call.run()` calls the scenario's function."""
        found = () if self.reading is None else self.reading.tool_calls
        return [RunnableCall(call, self.functions) for call in found]

    @property
    def usage(self) -> Usage:
        """Return the token counts that the server sent; -1 for each that it did not send."""
        return Usage() if self.reading is None else self.reading.usage

    @property
    def finish(self) -> str:
        """Return the reason why the model stopped: stop, length, tool_calls, content_filter, or the server's own word.

        Returns "" if the server sent no reason.
        """
        return "" if self.reading is None else self.reading.finish

    @property
    def output_tokens(self) -> int:
        return self.stream_times().output_tokens

    @property
    def reasoning_tokens(self) -> int:
        return self.stream_times().reasoning_tokens

    @property
    def ttft_ns(self) -> int:
        """Return the time from the call to the first generated token; -1 without a token."""
        return self.stream_times().ttft_ns

    def parsed(self, kind: type[T]) -> T:
        """Return the generated text as a value of `kind`: a dataclass, msgspec Struct, dict ...

        Raises:
            ExpectFailed: `parse NAME`: the text is not JSON, or does not fit.
        """
        try:
            return msgspec.json.decode(self.text, type=kind)
        except (*UNREADABLE, UnicodeError) as error:
            raise self._failed(f"parse {kind.__name__}", f"{error}, in {self._excerpt()}") from error

    def json(self, **kwargs: Any) -> Any:
        """Return the generated text parsed as JSON. Keyword arguments are those of `json.loads`.

        Raises:
            ValueError: the text is not JSON.
        """
        import json as _json  # rare, and only with keyword arguments

        return _json.loads(self.text, **kwargs) if kwargs else msgspec.json.decode(self.text)

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the parts of the answer as they arrive. Only inside `async with user.llm.stream(...)`.

        Raises:
            RequestFailed: the stream broke off, or ended without a usable answer.
        """
        while True:
            reading = self.reading
            if reading is not None and reading.parts:
                fresh, reading.parts = reading.parts, []
                for part in fresh:
                    yield part
            elif self._failure is not None:
                await self._count_tokens()
                raise self._break(self._failure)
            elif self._is_whole:
                await self.over()
                return
            elif self._is_closed:
                return
            else:
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted

    def expect_finish(self, finish: str) -> None:
        """Check that the model stopped for this reason.

        Raises:
            ExpectFailed: `expect finish`: it stopped for another reason.
        """
        if self.finish != finish:
            raise self._failed("expect finish", f"finished with {self.finish or 'no reason'}, expected {finish}")

    def _failed(self, outcome: str, detail: str) -> ExpectFailed:
        self._meter.settle_as(self, outcome)
        return ExpectFailed(outcome, f"{self.route.method} {self.route.url}: {detail}")
