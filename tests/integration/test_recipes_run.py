"""Runs of the recipes of docs/databases-and-brokers.md: the servers' own counts are the run's; servers with faults."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_databases_and_brokers import faulty_server
from tests.support.brokers import SECTIONS, running_kafka, running_mosquitto, running_rabbitmq, running_redis
from tests.support.in_thread import in_thread
from tests.support.postgres_server import running_postgres
from tests.support.run import Finished, ends_with, loadgen

Counted = Callable[[], dict[str, int]]
"""Returns what a server has counted, by the names of the run's rows."""


@contextmanager
def counted_redis() -> Iterator[tuple[int, Counted]]:
    redis = pytest.importorskip("redis")
    with running_redis() as port:

        def counts() -> dict[str, int]:
            found = redis.Redis(port=port).info("commandstats")
            return {f"{word.upper()} sku": found[f"cmdstat_{word}"]["calls"] for word in ("set", "get")}

        yield port, counts


@contextmanager
def counted_postgres() -> Iterator[tuple[int, Counted]]:
    with running_postgres() as server:
        server.sql("create extension pg_stat_statements")

        def counts() -> dict[str, int]:
            text = "select sum(calls) from pg_stat_statements where query like 'select n from generate_series%'"
            return {"orders by id": int(server.sql(text))}

        yield server.port, counts


@contextmanager
def counted_kafka() -> Iterator[tuple[int, Counted]]:
    kafka = pytest.importorskip("confluent_kafka")
    with running_kafka() as port:

        def counts() -> dict[str, int]:
            consumer = kafka.Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "counts"})
            partitions = consumer.list_topics("orders", timeout=30).topics["orders"].partitions
            ends = [
                consumer.get_watermark_offsets(kafka.TopicPartition("orders", one), timeout=30) for one in partitions
            ]
            consumer.close()
            return {"produce order": sum(high - low for low, high in ends)}

        yield port, counts


@contextmanager
def counted_mosquitto() -> Iterator[tuple[int, Counted]]:
    mqtt = pytest.importorskip("paho.mqtt.client")
    with running_mosquitto() as port:
        received: list[Any] = []
        is_subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = lambda *given: received.append(given[-1])
        client.on_subscribe = lambda *_: is_subscribed.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.subscribe("lamp/7", qos=1)
        assert is_subscribed.wait(30)

        def counts() -> dict[str, int]:
            return {"publish": len(received)}

        yield port, counts
        client.disconnect()
        client.loop_stop()


@contextmanager
def counted_rabbitmq() -> Iterator[tuple[int, Counted]]:
    aio_pika = pytest.importorskip("aio_pika")
    with running_rabbitmq() as port:

        async def depth() -> int:
            async with await aio_pika.connect(host="127.0.0.1", port=port) as connection:
                queue = await (await connection.channel()).declare_queue("orders", passive=True)
                return int(queue.declaration_result.message_count)

        yield port, lambda: {"enqueue": asyncio.run(depth())}


SERVERS = {
    "Redis": (counted_redis, 100),
    "PostgreSQL": (counted_postgres, 100),
    "Kafka": (counted_kafka, 40),
    "MQTT": (counted_mosquitto, 40),
    "AMQP": (counted_rabbitmq, 40),
}
"""By section: the server, and the iterations of its scenario."""


def scenario_of(title: str, port: int, folder: Path) -> Path:
    path = folder / f"load_on_{title.lower()}.py"
    path.write_text(re.sub(r'(://127\.0\.0\.1):\d+"', rf'\1:{port}"', SECTIONS[title]))
    return path


def outcomes_of(run: Finished, name: str) -> dict[str, int]:
    """Return the counts of a row by outcome."""
    rows = [
        one for one in run.summary["series"] if (one["kind"], one["region"], one["request"]) == ("request", "*", name)
    ]
    return {one["outcome"]: one["count"] for one in rows if one["outcome"] != "*"}


@pytest.mark.parametrize(
    "title",
    [pytest.param(one, marks=[pytest.mark.slow] if one == "AMQP" else []) for one in SERVERS],  # it starts in 10 s
)
def test_a_check_and_a_run_are_counted_by_the_server_and_by_us(title: str, tmp_path: Path) -> None:
    serve, iterations = SERVERS[title]
    with serve() as (port, counts):
        scenario = scenario_of(title, port, tmp_path)
        checked = loadgen("check", str(scenario), runs_dir=tmp_path / "runs")
        assert checked.exit_code == 0, checked.out + checked.err
        assert re.search(r": ok after \d requests? in ", checked.out)
        assert set(counts().values()) == {1}
        run = loadgen("run", str(scenario), "--quiet", runs_dir=tmp_path / "runs")
        seen = counts()
    assert run.exit_code in (0, 1, 4), run.out + run.err  # 1: slower than the objective, on a busy machine
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == iterations
    assert run.summary["requests"]["errors"] == 0
    for name, count in seen.items():
        assert outcomes_of(run, name) == {"ok": count - 1} == {"ok": iterations}
    assert "script" not in run.out + run.err


@pytest.mark.parametrize("fault", ["slow", "lying"])
def test_a_redis_with_a_fault_under_load_is_an_outcome_of_each_command(fault: str, tmp_path: Path) -> None:
    with in_thread(faulty_server(fault)) as port:
        run = loadgen("run", str(scenario_of("Redis", port, tmp_path)), "--quiet", runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 1), run.out + run.err
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 100
    found = outcomes_of(run, "SET sku")
    assert sum(found.values()) == run.summary["requests"]["errors"] == 100
    assert found.keys() <= ({"timeout", "no free connection"} if fault == "slow" else {"redis InvalidResponse"})
    assert "script" not in run.out + run.err
    assert "Traceback" not in run.out + run.err
