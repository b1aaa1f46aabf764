"""The scenarios of docs/databases-and-brokers.md, run as the page shows them, each against its own server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.spec import Overrides
from loadgen.dsl.users.named_outcomes import name_failure, outcome_given
from loadgen_controller.planning.rehearsal import Rehearsed, rehearse
from tests.support.brokers import SECTIONS, running_kafka, running_mosquitto, running_rabbitmq, running_redis
from tests.support.ports import free_port
from tests.support.postgres_server import running_postgres

REFUSED = {
    "Redis": [("SET sku", "refused")],
    "PostgreSQL": [("connection", "refused")],
    "Kafka": [("subscribe", "refused")],
    "MQTT": [("connection", "mqtt error")],
    "AMQP": [("connection", "refused")],
}
"""The rows of an iteration if nobody listens."""
FAULTS = {
    "Redis": {"slow": "timeout", "half-closing": "refused", "reset": "refused", "lying": "redis InvalidResponse"},
    "PostgreSQL": {"slow": "timeout", "half-closing": "refused", "reset": "refused", "lying": "refused"},
    # aiokafka has the same exception for all of these.
    "Kafka": {"slow": "refused", "half-closing": "refused", "reset": "refused", "lying": "refused"},
    # aiomqtt waits for an answer, though the connection has ended.
    "MQTT": {"slow": "timeout", "half-closing": "timeout", "reset": "timeout", "lying": "timeout"},
    "AMQP": {"slow": "timeout", "half-closing": "refused", "reset": "refused", "lying": "timeout"},
}
"""The outcome of the first row by the server's fault."""


@contextmanager
def running_postgres_port() -> Iterator[int]:
    with running_postgres() as server:
        yield server.port


def scenario_of(title: str, port: int, folder: Path, scheme: str = "", *, limits_s: str = "") -> Scenario:
    """Return the scenario of a section, aimed at a port of this machine.

    scheme: another one than that of the page. limits_s: replaces the time limits of the section.
    """
    path = folder / f"load_on_{title.lower()}.py"
    text = SECTIONS[title]
    if limits_s:
        text = re.sub(r"timeout=\d\b", f"timeout={limits_s}", text)
        text = text.replace("request_timeout_ms=5_000", "request_timeout_ms=500")
    path.write_text(text)
    found = re.search(r'targets={"(\w+)": "(\w+)://', SECTIONS[title])
    assert found is not None
    name, usual = found.groups()
    return load(path, None, Overrides(targets={name: f"{scheme or usual}://127.0.0.1:{port}"}))


def recipe_of(title: str, client: str) -> tuple[dict[str, Any], Any, Any]:
    """Return the names of a section, the URL of its target, which may change, and a user with this client of it."""
    recipe: dict[str, Any] = {}
    exec(SECTIONS[title], recipe)  # the code of the page
    url = SimpleNamespace(host="127.0.0.1", port=0, scheme=title.lower())
    made = recipe[client](SimpleNamespace(target=lambda _: url))
    return recipe, url, SimpleNamespace(client=lambda *_, **__: made, measure=lambda *_, **__: nullcontext())


async def tried(scenario: Scenario) -> Rehearsed:
    (done,) = [one async for one in rehearse(scenario)]
    return done


def rows_of(done: Rehearsed) -> list[tuple[str, str]]:
    return [(one.name, one.outcome) for one in done.requests]


def test_the_page_has_these_recipes() -> None:
    assert list(SECTIONS) == list(REFUSED)


@pytest.mark.parametrize("title", SECTIONS)
async def test_a_server_that_refuses_is_an_outcome_and_no_fault_of_the_script(title: str, tmp_path: Path) -> None:
    done = await tried(scenario_of(title, free_port(), tmp_path))
    assert rows_of(done) == REFUSED[title]
    assert done.outcome == REFUSED[title][-1][1]
    assert done.failures[0].detail


@contextlib.asynccontextmanager
async def faulty_server(fault: str) -> AsyncIterator[int]:
    """Yield the port of a server that stays silent, half-closes, resets or answers with HTTP."""
    tasks = set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # it runs in one
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read(65_536)
            if fault == "half-closing":
                writer.write_eof()
            elif fault == "lying":
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n")
            elif fault == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            await reader.read()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize(("title", "fault"), [(title, fault) for title, faults in FAULTS.items() for fault in faults])
async def test_a_server_with_a_fault_is_an_outcome_and_no_fault_of_the_script(
    title: str, fault: str, tmp_path: Path
) -> None:
    async with faulty_server(fault) as port:
        done = await tried(scenario_of(title, port, tmp_path, limits_s="0.3"))
    row, outcome = REFUSED[title][0][0], FAULTS[title][fault]
    assert rows_of(done) == [(row, outcome)]
    assert done.outcome == outcome
    assert "counts as the target" not in done.failures[0].detail  # it does


async def test_redis(tmp_path: Path) -> None:
    with running_redis() as port:
        done = await tried(scenario_of("Redis", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("SET sku", "ok"), ("GET sku", "ok")])


async def test_errors_of_redis_and_a_full_pool_have_outcomes_of_their_own() -> None:
    recipe: dict[str, Any] = {}
    exec(SECTIONS["Redis"], recipe)  # the code of the page
    with running_redis() as port:
        cache = recipe["Cache"](SimpleNamespace(target=lambda _: f"redis://127.0.0.1:{port}"))
        await cache.redis.set("sku-7", "lamp")
        assert await outcome_by(cache.outcomes, lambda: cache.redis.lpush("sku-7", "x")) == "redis error"  # WRONGTYPE
        pool = cache.redis.connection_pool
        busy = [await pool.get_connection() for _ in range(50)]
        assert await outcome_by(cache.outcomes, lambda: cache.redis.get("sku-7")) == "no free connection"
        for one in busy:
            await pool.release(one)
        assert await cache.redis.get("sku-7") == b"lamp"
        await cache.aclose()


async def test_errors_of_postgresql_have_their_sqlstate() -> None:
    recipe, url, _ = recipe_of("PostgreSQL", "Database")
    with running_postgres_port() as url.port:
        database = recipe["Database"](SimpleNamespace(target=lambda _: url))
        pool = await database.pool()
        connection = await pool.acquire()
        # https://www.postgresql.org/docs/17/errcodes-appendix.html
        assert await outcome_by(database.outcomes, lambda: connection.fetch("select 1 / 0")) == "sql 22012"
        assert await outcome_by(database.outcomes, lambda: connection.fetch("select * from nowhere")) == "sql 42P01"
        assert (
            await outcome_by(database.outcomes, lambda: connection.fetch("select pg_sleep(9)", timeout=0.1))
            == "timeout"
        )
        with contextlib.suppress(recipe["asyncpg"].PostgresError):
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        assert await outcome_by(database.outcomes, lambda: connection.fetch("select 1")) == "connection closed"
        await database.aclose()


async def outcome_by(outcomes: Any, call: Callable[[], Awaitable[object]]) -> str | None:
    """Return the outcome that a recipe gives to the exception of a call."""
    with pytest.raises(Exception) as caught:  # of any library
        await call()
    name_failure(caught.value, outcomes)
    return outcome_given(caught.value)


async def test_a_target_of_valkey(tmp_path: Path) -> None:
    with running_redis() as port:  # it has the same protocol
        done = await tried(scenario_of("Redis", port, tmp_path, "valkey"))
    assert (done.outcome, rows_of(done)) == ("ok", [("SET sku", "ok"), ("GET sku", "ok")])


@pytest.mark.parametrize(("title", "scheme"), [("Redis", "rediss"), ("MQTT", "mqtts"), ("AMQP", "amqps")])
async def test_a_target_with_tls_gets_a_tls_handshake(title: str, scheme: str, tmp_path: Path) -> None:
    begun: list[bytes] = []

    async def close_after_the_first_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_server(close_after_the_first_byte, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await tried(scenario_of(title, port, tmp_path, scheme))
    assert set(begun) == {b"\x16"}  # RFC 8446, section 5.1: a handshake record
    assert done.outcome == REFUSED[title][0][1]


async def test_postgresql(tmp_path: Path) -> None:
    with running_postgres_port() as port:
        done = await tried(scenario_of("PostgreSQL", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("connection", "ok"), ("orders by id", "ok")])


async def test_kafka(tmp_path: Path) -> None:
    with running_kafka() as port:
        done = await tried(scenario_of("Kafka", port, tmp_path))
    rows = [("subscribe", "ok"), ("produce order", "ok"), ("order delivered", "ok")]
    assert (done.outcome, rows_of(done)) == ("ok", rows)


async def test_mqtt(tmp_path: Path) -> None:
    with running_mosquitto() as port:
        done = await tried(scenario_of("MQTT", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("connection", "ok"), ("publish", "ok")])


async def test_after_a_broker_has_gone_the_next_iteration_of_mqtt_connects_again() -> None:
    recipe, url, user = recipe_of("MQTT", "Broker")
    for _ in range(2):
        with running_mosquitto() as url.port:
            await recipe["switch"].fn(user)
        # Without this wait the message goes to the dead socket, and fails 5 s later.
        await asyncio.wait([user.client()._client._disconnected])
        with pytest.raises(recipe["aiomqtt"].MqttError):
            await recipe["switch"].fn(user)


@pytest.mark.slow  # RabbitMQ takes some 10 s to start
async def test_amqp(tmp_path: Path) -> None:
    with running_rabbitmq() as port:
        done = await tried(scenario_of("AMQP", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("connection", "ok"), ("enqueue", "ok")])


@pytest.mark.slow
async def test_after_a_broker_has_gone_the_next_iteration_of_amqp_connects_again() -> None:
    recipe, url, user = recipe_of("AMQP", "Exchange")
    for _ in range(2):
        with running_rabbitmq() as url.port:
            await recipe["enqueue"].fn(user)
        with pytest.raises(recipe["AMQPConnectionError"]):
            await recipe["enqueue"].fn(user)
