"""Factories of `user.client` that connect in their constructor, block the event loop there, or are async."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Thread
from typing import Any

import pytest

from loadgen.dsl.users import library_clients
from loadgen.dsl.users.user import User
from loadgen.units import NS_PER_MS
from tests.support.lives import Bench, bound

OUTCOMES = {ConnectionRefusedError: "refused", TimeoutError: "timeout", OSError: lambda error: f"os {error.errno}"}


class Wire:
    """A client that connects in its constructor and reads a line, with blocking sockets."""

    place: tuple[str, int]
    made: int
    closed: int

    def __init__(self, user: User) -> None:
        Wire.made += 1
        self.socket = socket.create_connection(Wire.place, timeout=10)
        self.greeting = self.socket.recv(100)

    def close(self) -> None:
        Wire.closed += 1
        self.socket.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _no_server() -> None:
    Wire.place, Wire.made, Wire.closed = ("127.0.0.1", free_port()), 0, 0


@contextmanager
def greeting_server() -> Iterator[None]:
    """A server on the place of `Wire`, in a thread, because the constructors block this one."""
    server = socket.create_server(Wire.place)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")

    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def iterations_of(scope: Any, outcomes: Any) -> tuple[Bench, list[bytes]]:
    greetings: list[bytes] = []

    async def j(user: User) -> None:
        greetings.append(user.client(Wire, scope=scope, outcomes=outcomes).greeting)
        await asyncio.sleep(0)

    return Bench(bound(j), fresh=False), greetings


@pytest.mark.parametrize("scope", ["user", "slot", "worker"])
async def test_a_refused_connection_of_a_constructor_is_an_outcome_and_the_next_iteration_connects(scope: Any) -> None:
    bench, greetings = iterations_of(scope, OUTCOMES)
    assert (await bench.run()).outcome == "refused"
    assert bench.said == [], "no error of the script"
    with greeting_server():
        for _ in range(2):
            assert (await bench.run()).outcome == "ok"
    assert greetings == [b"hello", b"hello"]
    assert (Wire.made, Wire.closed) == (2, 0)


async def test_without_outcomes_it_is_an_error_of_the_script_at_its_line() -> None:
    bench, _ = iterations_of("user", None)
    assert (await bench.run()).outcome == "script ConnectionRefusedError"
    assert "test_connecting_factories.py:" in bench.said[0]
    assert "in __init__" in bench.said[0]


async def test_within_a_measured_call_its_outcomes_count_and_those_of_the_client_win() -> None:
    async def j(user: User) -> None:
        async with user.measure("connection", outcomes=OUTCOMES):
            user.client(Wire)

    async def both(user: User) -> None:
        async with user.measure("connection", outcomes=OUTCOMES):
            user.client(Wire, outcomes={OSError: "no cache"})

    for journey, outcome in ((j, "refused"), (both, "no cache")):
        bench = Bench(bound(journey))
        assert (await bench.run()).outcome == outcome
        assert bench.rows() == {("request", None, "connection", outcome): 1}
        assert bench.said == []


async def test_wrong_outcomes_are_named_with_the_call() -> None:
    bench, _ = iterations_of("user", {"OSError": "refused"})
    assert (await bench.run()).outcome == "script UsageError"
    assert "user.client: outcomes: 'OSError' is not a class of exceptions" in bench.said[0]


async def test_a_constructor_that_blocks_the_event_loop_is_noted_once_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_clients, "perf_counter_ns", count(0, 310 * NS_PER_MS).__next__)  # each look 310 ms on
    bench, _ = iterations_of("user", OUTCOMES)
    await bench.run()
    with greeting_server():
        await bench.run()
    (note,) = bench.recorder.take_notes()
    assert note.startswith("user.client: Wire blocked the event loop for 310 ms while it created its client")
    assert "connect in an async method, and await it in the journey" in note


async def test_a_constructor_that_does_not_block_has_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_clients, "perf_counter_ns", count().__next__)
    bench, _ = iterations_of("user", OUTCOMES)
    with greeting_server():
        await bench.run()
    assert bench.recorder.take_notes() == ()


async def test_a_generator_is_no_client_either() -> None:
    async def connected(user: User) -> AsyncIterator[str]:
        yield "connected"

    async def j(user: User) -> None:
        user.client(connected)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script UsageError"
    assert "user.client: connected is async; create the client in a plain function or class" in bench.said[0]


class AsyncInit:
    async def __init__(self, user: User) -> None:  # type: ignore[misc]  # the fault that is tested
        pass


class RunsALoop:
    def __init__(self, user: User) -> None:
        waiting = asyncio.sleep(0)
        try:
            asyncio.run(waiting)
        finally:
            waiting.close()


@pytest.mark.parametrize(
    ("factory", "outcome", "hint"),
    [
        (AsyncInit, "script TypeError", "a constructor cannot be async: connect in a method that the journey awaits"),
        (RunsALoop, "script RuntimeError", "a constructor cannot await, so connect in a method"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'AsyncInit.__init__' was never awaited")
async def test_a_constructor_that_would_await_is_an_error_that_says_where_to_connect(
    factory: Any, outcome: str, hint: str
) -> None:
    async def j(user: User) -> None:
        user.client(factory, outcomes=OUTCOMES)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == outcome
    assert hint in bench.said[0]
