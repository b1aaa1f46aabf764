"""Real servers of databases and brokers for tests, each in its own folder: Redis, MQTT, Kafka, AMQP.

`tests/support/postgres_server.py` has PostgreSQL. `SECTIONS` has the scenarios of the page about them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.ports import free_port, free_ports

__all__ = ["SECTIONS", "running_kafka", "running_mosquitto", "running_rabbitmq", "running_redis"]

_PAGE = Path(__file__).resolve().parents[2] / "docs/databases-and-brokers.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n.*?^```python\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE))
"""The scenarios of the page, by the title of their section."""
_START_S = 120
"""Generous: the machine may be busy with other tests."""


def _program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        pytest.skip(f"no {name}: apt-get install {package}")
    return found


@contextmanager
def _running(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a program until its port accepts connections, and end it with all its children afterwards."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        until_s = time.monotonic() + _START_S
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < until_s, log.read_text(errors="replace")
            time.sleep(0.05)
        yield
    finally:
        # Programs that change their user have a session of their own, so the group is not enough.
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()


@contextmanager
def _folder() -> Iterator[Path]:
    # Erlang's files would keep pytest's folder from being removed.
    folder = Path(tempfile.mkdtemp(prefix="loadgen-broker-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_redis() -> Iterator[int]:
    """Yield the port of a Redis server without persistence."""
    port = free_port()
    command = [_program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with _folder() as folder, _running(command, port, folder):
        yield port


@contextmanager
def running_mosquitto() -> Iterator[int]:
    """Yield the port of a Mosquitto broker that admits everybody from this machine."""
    port = free_port()
    with _folder() as folder:
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {_user()}\n")
        with _running([_program("mosquitto", "mosquitto"), "-c", str(settings)], port, folder):
            yield port


def _user() -> str:
    return "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")


@contextmanager
def running_kafka() -> Iterator[int]:
    """Yield the port of the first of three brokers of librdkafka's mock cluster, which has the topic `orders`."""
    kafka = pytest.importorskip("confluent_kafka")
    producer = kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 3})
    brokers = producer.list_topics("orders", timeout=_START_S).brokers.values()
    yield next(iter(brokers)).port
    producer.flush(1)


@contextmanager
def running_rabbitmq() -> Iterator[int]:
    """Yield the port of a RabbitMQ broker. It takes 5 to 20 s to start."""
    port, distribution, names = free_ports(3)
    with _folder() as folder:
        environment = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"loadgen{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (folder / "plugins").write_text("[].\n")
        if os.geteuid() == 0:  # Debian's script changes to the user rabbitmq then
            shutil.chown(folder, "rabbitmq")
        server, mapper = _program("rabbitmq-server", "rabbitmq-server"), _program("epmd", "erlang-base")
        # Started here, because the server would start one that outlives it.
        with (
            _running([mapper, "-port", str(names), "-address", "127.0.0.1"], names, folder),
            _running([server], port, folder, environment),
        ):
            yield port
