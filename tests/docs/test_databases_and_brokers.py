"""The scenarios of docs/databases-and-brokers.md, run as the page shows them, each against its own server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.spec import Overrides
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


@contextmanager
def running_postgres_port() -> Iterator[int]:
    with running_postgres() as server:
        yield server.port


def scenario_of(title: str, port: int, folder: Path) -> Scenario:
    """Return the scenario of a section, aimed at a port of this machine."""
    path = folder / f"load_on_{title.lower()}.py"
    path.write_text(SECTIONS[title])
    found = re.search(r'targets={"(\w+)": "(\w+)://', SECTIONS[title])
    assert found is not None
    name, scheme = found.groups()
    return load(path, None, Overrides(targets={name: f"{scheme}://127.0.0.1:{port}"}))


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


async def test_redis(tmp_path: Path) -> None:
    with running_redis() as port:
        done = await tried(scenario_of("Redis", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("SET sku", "ok"), ("GET sku", "ok")])


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


@pytest.mark.slow  # RabbitMQ takes some 10 s to start
async def test_amqp(tmp_path: Path) -> None:
    with running_rabbitmq() as port:
        done = await tried(scenario_of("AMQP", port, tmp_path))
    assert (done.outcome, rows_of(done)) == ("ok", [("connection", "ok"), ("enqueue", "ok")])
