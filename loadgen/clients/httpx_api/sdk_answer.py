"""The answer of a model to a request that an SDK sent over `user.httpx`: `AsyncOpenAI(http_client=user.httpx)`.

The SDK's request is not changed. A POST to a path of a known API whose answer is a stream of events or JSON is a
request to a model, and gets the same metrics as those of `user.llm`.
"""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm_apis.apis import api_of_path
from loadgen.clients.llm_apis.row_tags import tags_of
from loadgen.clients.llm_apis.stream_reading import StreamReading
from loadgen.clients.llm_apis.types import Api
from loadgen.clients.protocol.decoding import DecodingError, Unpacker
from loadgen.clients.protocol.outcomes import PROTOCOL
from loadgen.clients.protocol.response_heads import Head
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.engine.recording.user_meter import CountsTokens
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.streams import StreamTimes

__all__ = ["SdkAnswer", "sdk_answer"]

_MOST_BYTES: Final = 4 * 1024 * 1024
"""A larger answer in JSON is not read: its tokens stay unknown."""


class SdkAnswer:
    """The parts of one answer so far.

    is_stream: true for a stream of events, false for JSON. tokenizer: counts the tokens of an answer without usage,
    once at its end.
    """

    __slots__ = ("_api", "_body", "_failed", "_is_model", "_is_stream", "_reading", "_times", "_tokenizer", "_unpacker")

    def __init__(
        self, api: Api, *, is_stream: bool, unpacker: Unpacker | None = None, tokenizer: CountsTokens | None = None
    ) -> None:
        self._api, self._is_stream, self._tokenizer = api, is_stream, tokenizer
        self._reading = StreamReading(api)
        self._body = bytearray()
        self._failed = ""
        self._is_model = True
        self._unpacker = unpacker
        self._times: StreamTimes | None = None

    def took(self, data: bytes, now_ns: int) -> None:
        """HOT, once a read. Read more bytes of the answer."""
        if self._failed:
            return
        try:
            for piece in (data,) if self._unpacker is None else self._unpacker.feed(data):
                if self._is_stream:
                    self._reading.feed(piece, now_ns)
                elif len(self._body) <= _MOST_BYTES:
                    self._body += piece
        except DecodingError:
            self._failed = PROTOCOL
        except RequestFailed as failure:
            self._failed = failure.outcome

    def ended(self, done_ns: int) -> str:
        """Return the outcome of an answer that is complete and whose status is no error."""
        if self._failed:
            return self._failed
        if self._is_stream:
            self._reading.close(done_ns)
            return self._reading.outcome()
        if len(self._body) > _MOST_BYTES:
            return OK
        parts = self._api.decode_reply(bytes(self._body))
        if all(part.kind == "other" for part in parts):
            self._is_model = False
            return OK
        self._reading.add(parts, done_ns)
        return self._reading.outcome()

    def times(self, asked_ns: int, done_ns: int) -> StreamTimes | None:
        """Return the figures of the answer, as of its end; None if it was JSON of another kind."""
        if not self._is_model:
            return None
        if self._times is None:
            if self._tokenizer is not None:
                self._reading.count_missing(self._tokenizer.count_all)
            self._times = self._reading.times(asked_ns, done_ns)
        return self._times

    def events(self) -> StreamEvents | None:
        """Return the events of the answer, to be kept; None if it is no stream."""
        return self._reading.kept_events(is_stamped=False) if self._is_stream else None

    def tags(self, asked_ns: int, done_ns: int) -> dict[str, str]:
        """Return the tags of the request, as of its end."""
        times = self.times(asked_ns, done_ns)
        return {} if times is None else tags_of(times, is_whole=not self._is_stream)


def sdk_answer(method: str, path: str, head: Head, tokenizer: CountsTokens | None = None) -> SdkAnswer | None:
    """Return the reader of a model's answer; None if the request is not for a model, or its answer cannot be read.
    tokenizer: as in `SdkAnswer`.
    """
    api = api_of_path(path) if method == "POST" else None
    kind = (head.get(b"content-type") or b"").lower()
    is_stream = kind.startswith(b"text/event-stream")
    if api is None or not (is_stream or b"json" in kind):
        return None
    unpacker = None
    if head.zipped:
        try:
            unpacker = Unpacker(head.encodings)
        except DecodingError:  # the SDK raises its own error
            return None
    return SdkAnswer(api, is_stream=is_stream, unpacker=unpacker, tokenizer=tokenizer)
