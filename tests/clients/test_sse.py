"""`user.sse`: events over as many connections as it takes, and their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.sse import Event, EventStream
from loadgen.dsl.users.argument_checks import sse_limits
from loadgen.errors import ExpectFailed, UsageError
from tests.support.scripted import CLOSE, HANG, Received, client_of, ok, rows_of, scripted

KIND = "Content-Type: text/event-stream; charset=utf-8"


def events_of(http: HttpClient, slept_s: list[float] | None = None, **more: Any) -> EventStream:
    async def wait(wait_s: float) -> None:
        if slept_s is not None:
            slept_s.append(wait_s)

    given = {"name": None, "headers": None, "tags": None, "upto": None, "within_ns": None, "reconnect": True, **more}
    return EventStream(http, "/events?shop=7", wait=wait, **given)


async def read(stream: EventStream) -> list[Event]:
    async with stream as events:
        return [event async for event in events]


def in_turn(*answers: Any) -> Callable[[Received], Any]:
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


async def test_events_have_type_id_data_and_the_time_of_their_read() -> None:
    body = b': hello\n\nevent: price\nid: 7\ndata: 12\ndata: 13\n\ndata: {"a": 1}\n\n'
    async with scripted(ok(body, KIND)) as server, client_of(server.url) as http:
        found = await read(events_of(http, reconnect=False))

    assert [(event.event, event.id, event.data) for event in found] == [
        ("price", "7", "12\n13"),
        ("message", "7", '{"a": 1}'),
    ]
    assert found[1].json() == {"a": 1}
    assert all(event.t_ns > 0 for event in found)
    assert [(row.name, row.outcome) for row in rows_of(http)] == [("SSE /events", "ok")]


async def test_a_stream_that_ends_is_continued_after_the_last_event_when_the_server_says() -> None:
    slept_s: list[float] = []
    answers = in_turn(
        ok(b"retry: 250\nid: 41\ndata: a\n\n", KIND), ok(b"data: b\n\n", KIND), ok(status="204 No Content")
    )
    async with scripted(answers) as server, client_of(server.url) as http:
        found = await read(events_of(http, slept_s))

    assert [event.data for event in found] == ["a", "b"]
    assert [request.header("last-event-id") for request in server.requests] == [None, "41", "41"]
    assert server.requests[0].header("accept") == "text/event-stream"
    assert slept_s == [0.25, 3.0], "the second answer asks for no time, so the default holds"
    assert [row.outcome for row in rows_of(http)] == ["ok", "ok", "ok"]


async def test_the_last_id_stays_until_the_server_sets_another_or_none() -> None:
    answers = in_turn(
        ok(b"id: 41\ndata: a\n\n", KIND),
        ok(b"data: b\n\nid: 42\ndata: c\n\nid\ndata: d\n\n", KIND),
        ok(status="204 No Content"),
    )
    async with scripted(answers) as server, client_of(server.url) as http:
        events = events_of(http)
        found = [(event.data, event.id) for event in await read(events)]

    assert found == [("a", "41"), ("b", "41"), ("c", "42"), ("d", "")]
    assert [request.header("last-event-id") for request in server.requests] == [None, "41", None]
    assert events.last_id == ""


async def test_it_ends_after_the_wanted_number_of_events() -> None:
    async with scripted(ok(b"data: a\n\ndata: b\n\ndata: c\n\n", KIND)) as server, client_of(server.url) as http:
        found = await read(events_of(http, upto=2))

    assert [event.data for event in found] == ["a", "b"]
    assert server.connections == 1


async def test_it_ends_when_its_time_is_over_although_the_server_keeps_quiet() -> None:
    head = f"HTTP/1.1 200 OK\r\n{KIND}\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n".encode()
    async with scripted([head, HANG]) as server, client_of(server.url) as http:
        found = await read(events_of(http, within_ns=200_000_000))

    assert [event.data for event in found] == ["a"]
    assert [row.outcome for row in rows_of(http)] == ["ok"]


async def test_its_time_is_over_by_the_loops_clock_which_can_be_ahead_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    head = f"HTTP/1.1 200 OK\r\n{KIND}\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n".encode()
    async with scripted([head, HANG]) as server, client_of(server.url) as http:
        monkeypatch.setattr(EventStream, "_left_s", lambda self: 0.1)
        found = await read(events_of(http, within_ns=10_000_000_000))

    assert [event.data for event in found] == ["a"]
    assert server.connections == 1


async def test_it_does_not_connect_again_if_the_wait_would_end_too_late() -> None:
    async with scripted(ok(b"data: a\n\n", KIND)) as server, client_of(server.url) as http:
        found = await read(events_of(http, within_ns=2_000_000_000))

    assert len(found) == 1
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ok(b"<html>", "Content-Type: text/html"), "no stream"),
        (ok(b"{}", "Content-Type: application/json"), "no stream"),
        (ok(b"", status="404 Not Found"), "http 404"),
        (ok(b"", status="503 Busy"), "http 503"),
    ],
)
async def test_another_answer_is_a_failure(answer: bytes, outcome: str) -> None:
    async with scripted(answer) as server, client_of(server.url) as http:
        with pytest.raises(ExpectFailed) as caught:
            await read(events_of(http))

    assert caught.value.outcome == outcome
    assert [row.outcome for row in rows_of(http)] == [outcome]


async def test_a_last_event_without_its_blank_line_counts_and_bytes_that_are_no_utf8_are_replaced() -> None:
    answer: Any = [f"HTTP/1.1 200 OK\r\n{KIND}\r\n\r\n".encode(), b"data: \xff!\n\ndata: end", CLOSE]
    async with scripted(answer) as server, client_of(server.url) as http:
        found = await read(events_of(http, reconnect=False))

    assert [event.data for event in found] == ["\ufffd!", "end"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, None), "upto=0 must be a whole number"),
        ((True, None), "upto=True"),
        ((None, 0), "within must be above 0"),
        ((None, "soon"), "invalid duration"),
    ],
)
def test_wrong_limits_are_errors(given: tuple[object, object], text: str) -> None:
    with pytest.raises((UsageError, ValueError), match=text):
        sse_limits(*given)
