"""Requests that are sent again: only what may be, only where it is asked for, and each attempt is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from loadgen.clients.net.canned_replies import CannedNetwork
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.retries import NOTE, RETRIED
from loadgen.errors import RequestFailed, UsageError
from tests.support.badserver import Badness, bad_server, refusing_url
from tests.support.scripted import CLOSE, HANG, RESET, Received, client_of, ok, rows_of, samples_of, scripted


def failing(times: int, how: str = RESET) -> Any:
    """Fails so many requests, then answers."""
    left = iter(range(times))

    def answer(request: Received) -> Any:
        return how if next(left, None) is not None else ok(b"done")

    return answer


async def test_without_retries_a_reset_is_an_outcome() -> None:
    async with scripted(failing(1)) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed, match="reset"):
            await client.get("/")
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("GET /", "reset")]


@pytest.mark.parametrize("how", [RESET, CLOSE])
async def test_each_attempt_that_failed_is_a_row_of_its_own_and_the_call_is_the_whole(how: str) -> None:
    async with scripted(failing(2, how)) as server, client_of(server.url, retries=3) as client:
        reply = await client.get("/", expect=200)
        assert reply.text == "done"
        rows = rows_of(client)
        assert [(row.name, row.outcome) for row in rows] == [
            (f"GET /{RETRIED}", "reset"),
            (f"GET /{RETRIED}", "reset"),
            ("GET /", "ok"),
        ]
        assert sum(row.response_ns for row in rows[:2]) < rows[2].response_ns
        assert rows[2].response_ns == reply.done_ns - reply.asked_ns
        assert reply.elapsed.total_seconds() < reply.call_elapsed.total_seconds()
        counters = client._meter.recorder.counters
        assert (counters.requests_started, counters.requests_finished, counters.requests_errors) == (3, 3, 2)
        assert client._meter.recorder.take_notes() == (NOTE,)
        assert len(server.requests) == 3


async def test_the_last_attempt_that_fails_is_the_calls() -> None:
    async with scripted(RESET) as server, client_of(server.url, retries=2) as client:
        with pytest.raises(RequestFailed, match="reset"):
            await client.get("/", name="look")
        assert [(row.name, row.outcome) for row in rows_of(client)] == [
            (f"look{RETRIED}", "reset"),
            (f"look{RETRIED}", "reset"),
            ("look", "reset"),
        ]
        assert len(server.requests) == 3


async def test_a_call_may_say_how_often_for_itself() -> None:
    async with scripted(failing(9)) as server, client_of(server.url, retries=2) as client:
        with pytest.raises(RequestFailed):
            await client.get("/", retries=0)
        assert len(server.requests) == 1
        await client.get("/", retries=8)
        assert len(server.requests) == 10
        for wrong in (-1, 11, True, "2"):
            with pytest.raises(UsageError, match="retries"):
                await client.get("/", retries=wrong)  # type: ignore[arg-type]
        assert len(server.requests) == 10


async def test_what_is_not_idempotent_is_not_sent_again_once_it_was_sent() -> None:
    async with scripted(failing(1)) as server, client_of(server.url, retries=3) as client:
        with pytest.raises(RequestFailed, match="reset"):
            await client.post("/pay", json={})
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("POST /pay", "reset")]
        assert len(server.requests) == 1


async def test_a_connection_that_never_came_about_is_tried_again_for_any_method() -> None:
    with refusing_url() as url:
        async with client_of(url, retries=2) as client:
            with pytest.raises(RequestFailed, match="refused"):
                await client.post("/pay", json={})
            rows = rows_of(client)
            assert [(row.name, row.outcome, row.was_sent) for row in rows] == [
                (f"POST /pay{RETRIED}", "refused", False),
                (f"POST /pay{RETRIED}", "refused", False),
                ("POST /pay", "refused", False),
            ]


class Flaky(CannedNetwork):
    """Fails to connect with these outcomes, one after the other, and then does."""

    def __init__(self, *outcomes: str) -> None:
        super().__init__({"POST /": ok(b"done")})
        self.outcomes = list(outcomes)

    async def connect(self, *given: Any) -> Any:
        if self.outcomes:
            raise RequestFailed(self.outcomes.pop(0), "as the test says")
        return await super().connect(*given)


async def test_a_target_that_comes_up_meanwhile_is_reached() -> None:
    network = Flaky("refused", "dns", "unreachable", "timeout", "reset", "proxy refused")
    async with client_of("http://shop.test", network=network, retries=6) as client:
        assert (await client.post("/", json={})).text == "done"
        assert [row.outcome for row in rows_of(client)] == [
            "refused",
            "dns",
            "unreachable",
            "timeout",
            "reset",
            "proxy refused",
            "ok",
        ]


@pytest.mark.parametrize("outcome", ["tls", "no local port", "no file descriptors", "proxy 407", "proxy protocol"])
async def test_what_would_fail_again_or_is_our_own_fault_is_not_tried_again(outcome: str) -> None:
    async with client_of("http://shop.test", network=Flaky(outcome), retries=3) as client:
        with pytest.raises(RequestFailed):
            await client.post("/", json={})
        assert [row.outcome for row in rows_of(client)] == [outcome]


async def test_an_answer_is_never_asked_for_again_whatever_it_says() -> None:
    badnesses: tuple[Badness, ...] = ("reset midway", "garbage", "close midway")
    for badness in badnesses:
        async with bad_server(badness) as url, client_of(url, retries=3) as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
            assert len(rows_of(client)) == 1
    async with scripted(ok(status="503 Busy")) as server, client_of(server.url, retries=3) as client:
        await client.get("/")
        assert len(server.requests) == 1


async def test_a_body_that_is_gone_is_not_sent_again_and_one_that_is_not_is() -> None:
    def once() -> Iterator[bytes]:
        yield b"abc"

    async with scripted(failing(1)) as server, client_of(server.url, retries=3) as client:
        with pytest.raises(RequestFailed, match="reset"):
            await client.put("/", content=once())
    async with scripted(failing(1)) as server, client_of(server.url, retries=3) as client:
        await client.put("/", content=[b"abc"])
        assert [request.body for request in server.requests] == [b"abc", b"abc"]


async def test_the_time_out_covers_all_attempts() -> None:
    async with (
        scripted(HANG) as server,
        client_of(server.url, retries=3, timeouts=Timeouts(total_ns=250_000_000)) as client,
    ):
        with pytest.raises(RequestFailed, match="timeout"):
            await client.get("/")
        (row,) = rows_of(client)
        assert row.response_ns == 250_000_000
        assert len(server.requests) == 1


async def test_the_stale_connection_that_is_replaced_anyway_costs_no_retry() -> None:
    answers: Iterator[Any] = iter([ok(), CLOSE, RESET, ok()])
    async with scripted(lambda _: next(answers)) as server, client_of(server.url, retries=1) as client:
        await client.get("/")
        await client.get("/")
        assert [(row.name, row.outcome) for row in rows_of(client)] == [
            ("GET /", "ok"),
            (f"GET /{RETRIED}", "reset"),
            ("GET /", "ok"),
        ]
        assert client._pool.stale_retries == 1


@pytest.mark.parametrize("discards", [False, True])
async def test_streams_and_hops_are_sent_again_too(discards: bool) -> None:
    answers: Iterator[Any] = iter(
        [RESET, ok(b"", "Location: /b", "Connection: close", status="302 Found"), RESET, ok(b"xyz")]
    )
    async with scripted(lambda _: next(answers)) as server, client_of(server.url, retries=1) as client:
        async with client.stream("GET", "/a", follow_redirects=True, discard=discards) as reply:
            if not discards:
                assert await reply.aread() == b"xyz"
        assert reply.num_bytes_downloaded == 3
        assert [(row.name, row.outcome) for row in rows_of(client)] == [
            (f"GET /a{RETRIED}", "reset"),
            ("GET /a", "ok"),
            (f"GET /b{RETRIED}", "reset"),
            ("GET /b", "ok"),
        ]


async def test_an_attempt_that_failed_is_kept_whole_like_any_failure() -> None:
    async with scripted(failing(1)) as server, client_of(server.url, retries=1) as client:
        await client.get("/", headers={"X-A": "1"})
        client._meter.settle()
        client._meter.forget()
        recorder = client._meter.recorder
        recorder.failures.finish()
        (failure,) = recorder.failures.take(0, 2**62)
        assert (failure.request, failure.outcome) == (f"GET /{RETRIED}", "reset")
        assert "X-A: 1" in failure.sent
        assert len(samples_of(client)) == 1
