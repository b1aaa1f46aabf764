"""Runs with TCP and UDP, and with a library whose server refuses: counts of the servers, and outcomes."""

from __future__ import annotations

import re
import socketserver
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.brokers import SECTIONS
from tests.support.in_thread import serving
from tests.support.ports import free_port
from tests.support.run import DATA, ends_with, loadgen

COUNTED: Counter[str] = Counter()


class Lines(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        COUNTED["connections"] += 1
        for line in self.rfile:
            COUNTED[line.decode().strip()] += 1
            self.wfile.write(b"PONG\n" if line == b"PING\n" else b"BYE\n")


class Store(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        COUNTED["connections"] += 1
        while head := self.rfile.read(4):
            (size,) = struct.unpack(">I", head)
            COUNTED["put"] += 1
            self.wfile.write(head + self.rfile.read(size))


class Names(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        COUNTED["lookup"] += 1
        self.wfile.write(self.packet[:2] + b"here")


@contextmanager
def counting(make: Any, handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    server = make(("127.0.0.1", 0), handler)
    server.block_on_close = False  # it would wait for idle connections
    with serving(server):
        yield server.server_address[1]


def test_each_message_is_counted_by_the_servers_and_by_us(tmp_path: Path) -> None:
    COUNTED.clear()
    with (
        counting(socketserver.ThreadingTCPServer, Lines) as gate,
        counting(socketserver.ThreadingTCPServer, Store) as store,
        counting(socketserver.ThreadingUDPServer, Names) as dns,
    ):
        text = Path(f"{DATA}/links.py").read_text()
        for before, port in ((7001, gate), (7002, store), (7003, dns)):
            text = text.replace(f":{before}", f":{port}")
        (tmp_path / "links.py").write_text(text)
        run = loadgen("run", str(tmp_path / "links.py"), "--quiet", runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 20
    assert COUNTED == {"connections": 40, "PING": 20, "QUIT": 20, "put": 20, "lookup": 20}
    assert run.summary["requests"]["finished"] == sum(COUNTED.values())
    assert run.summary["requests"]["errors"] == 0


def test_a_redis_that_refuses_fails_the_objectives_and_is_no_fault_of_the_script(tmp_path: Path) -> None:
    path = tmp_path / "load_on_redis.py"
    path.write_text(re.sub(r":6379", f":{free_port()}", SECTIONS["Redis"]))
    run = loadgen("run", str(path), "--quiet", runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 1), run.out + run.err
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 100
    assert run.summary["requests"]["errors"] == run.summary["requests"]["finished"] == 100
    assert "script" not in run.out + run.err
    assert run.row("request", request="SET sku", outcome="refused")["count"] == 100
