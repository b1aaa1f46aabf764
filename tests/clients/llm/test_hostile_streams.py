"""Streams of a broken or hostile server: what is read of them is counted, nothing raises, and memory has a bound."""

from __future__ import annotations

import json
import sys

import pytest

from loadgen.clients.events import EVENT_TOO_LARGE, MAX_EVENT_BYTES
from loadgen.clients.llm_apis import stream_reading
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.stream_reading import ANSWER_TOO_LARGE, StreamReading
from loadgen.errors import RequestFailed
from loadgen.measure.streams import KINDS

DONE = b"data: [DONE]\n\n"


def chunk(finish: str | None = None, usage: int = -1, **delta: object) -> bytes:
    value: dict[str, object] = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if usage >= 0:
        value["usage"] = {"prompt_tokens": 5, "completion_tokens": usage}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def read(*pieces: bytes) -> StreamReading:
    """Return what is read of a stream whose pieces arrive 1 ms apart, from 1 ms on, and which then ends."""
    reading = StreamReading(APIS["chat"])
    for number, piece in enumerate(pieces, 1):
        reading.feed(piece, number * 1_000_000)
    reading.close(len(pieces) * 1_000_000)
    return reading


def feed_all(reading: StreamReading, pieces: list[bytes]) -> None:
    for piece in pieces:
        reading.feed(piece, 1)


def kinds(reading: StreamReading) -> list[str]:
    return [KINDS[kind] for kind in reading.kinds]


@pytest.mark.parametrize(
    "event",
    [b"data: {oak\n\n", b'data: {"\xc3\xff":1}\n\n', b"data: \xff\xfe\n\n", b'data: {"\0":1}\n\n', b"data: \0\n\n"],
    ids=["no JSON", "no UTF-8 in JSON", "no UTF-8", "NUL in JSON", "NUL"],
)
def test_an_unreadable_event_is_counted_as_other_and_the_rest_is_read(event: bytes) -> None:
    found = read(chunk(content="a"), event, chunk("stop", content="b"), DONE)
    assert kinds(found) == ["content", "other", "content", "finish", "done"]
    assert (found.text, found.outcome()) == ("ab", "ok")
    assert found.times(0, 4_000_000).output_tokens == 2


@pytest.mark.parametrize("api", APIS)
def test_text_that_is_no_utf8_breaks_no_api(api: str) -> None:
    reading = StreamReading(APIS[api])  # type: ignore[index]
    reading.feed(b'event: x\ndata: {"choices":[{"delta":{"content":"\xff"}}],"type":"x\xff"}\n\n', 1)
    assert [KINDS[kind] for kind in reading.kinds] == ["other"]
    assert reading.outcome() == "stream truncated"


def test_usage_that_falls_makes_no_negative_count_or_gap() -> None:
    found = read(
        chunk(content="a", usage=1), chunk(content="b", usage=5), chunk(content="c", usage=3), chunk("stop"), DONE
    )
    times = found.times(0, 5_000_000)
    assert found.outcome() == "ok"
    assert times.output_tokens == 6, "the smaller count is ignored, so the event before it is one token"
    assert sum(times.icl_ns) == 2_000_000
    assert min(times.icl_ns) >= 0


def test_of_two_finish_reasons_the_first_counts() -> None:
    found = read(chunk(content="a"), chunk("length"), chunk("stop"), DONE)
    assert (found.finish, found.outcome(), kinds(found).count("finish")) == ("length", "ok", 2)


def test_a_stream_without_any_line_end_has_no_event_and_is_truncated() -> None:
    found = read(*[b"oak" * 1_000] * 100)
    assert (kinds(found), found.outcome(), found.times(0, 1).ttft_ns) == ([], "stream truncated", -1)


@pytest.mark.parametrize("start", [b"", b"data: ", b"data: x\n"], ids=["no field", "one line", "many lines"])
def test_an_event_beyond_the_limit_ends_the_stream(start: bytes) -> None:
    reading = StreamReading(APIS["chat"])
    reading.feed(chunk(content="a") + start, 1)
    piece = b"oak" * 349_525 + b"\n"  # 1 MiB
    with pytest.raises(RequestFailed) as caught:
        feed_all(reading, [piece] * (MAX_EVENT_BYTES // len(piece) + 1))
    assert caught.value.outcome == EVENT_TOO_LARGE
    assert reading.text == "a", "tokens before it are still known"


def test_a_million_events_are_read_whole_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reading, "_MOST_PARTS", 10_000)
    found = read(*[chunk(content="a") * 1_000] * 30, chunk("stop", usage=30_000), DONE, *[DONE] * 100)
    assert len(found.text) == 30_000
    assert sys.getsizeof(found.texts["content"]) < 30_000 * 1.2, "a list of the pieces would keep 60 B more for each"
    assert len(found.t_ns) == len(found.kinds) == len(found.tokens) < 10_010
    assert found.outcome() == "ok", "how the stream ended is known, however long it was"
    assert found.times(0, 31_000_000).output_tokens == 30_000


def test_text_without_an_end_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reading, "_MOST_TEXT", 10_000)
    found = StreamReading(APIS["chat"])
    with pytest.raises(RequestFailed) as caught:
        feed_all(found, [chunk(content="a" * 100)] * 1_000)
    assert caught.value.outcome == ANSWER_TOO_LARGE
    assert len(found.text) < 20_000


def test_pieces_of_tool_calls_without_an_end_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reading, "_MOST_PIECES", 100)
    piece = chunk(tool_calls=[{"index": 0, "function": {"arguments": "1"}}])
    found = read(*[piece] * 300, chunk("tool_calls"), DONE)
    assert [call.arguments for call in found.tool_calls] == ["1" * 100]
    assert found.token_events == 300
