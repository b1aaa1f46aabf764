"""Merges and snapshots made by hand, and those who receive what outputs send: over real sockets, well or badly."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.merging.queries import Window
from loadgen.sinks.output_queue import Sink, Undelivered
from loadgen.sinks.snapshot import RunName, Series, Snapshot, SnapshotMaker
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, request_key

__all__ = [
    "RUN",
    "STARTED_NS",
    "Fleet",
    "Got",
    "HttpReceiver",
    "KeepingSink",
    "counts_of",
    "eventually",
    "http_receiver",
    "snapshot",
    "udp_receiver",
]

RUN = RunName("20261125-120000-shop-abcd", "shop", "embedded")
STARTED_NS = 1_764_072_000 * NS_PER_S


class Fleet:
    """Agents whose deltas are merged as they are made."""

    def __init__(self, **regions: str) -> None:
        self.merge = Merge()
        self.regions = regions or {"a": "eu"}
        self.agents = {name: FakeAgent(name) for name in self.regions}

    def report(
        self, agent: str, k: int, values: Mapping[SeriesKey, Sequence[int]], health: Health | None = None
    ) -> None:
        delta = self.agents[agent].delta(values, k=k, health=health)
        assert self.merge.accept(self.regions[agent], delta) is Accepted.MERGED

    def window(self, k: int) -> Window:
        found = self.merge.window(k)
        assert found is not None
        return found


def snapshot(*ms: float, is_final: bool = False, key: SeriesKey | None = None, region: str = "eu") -> Snapshot:
    """Of one interval with requests of these response times."""
    fleet = Fleet(a=region)
    fleet.report("a", 0, {key or request_key(): [round(one * NS_PER_MS) for one in ms]})
    return final_of(fleet.merge) if is_final else interval_of(fleet, 0)


def interval_of(fleet: Fleet, k: int, maker: SnapshotMaker | None = None) -> Snapshot:
    window = fleet.window(k)
    maker = maker or SnapshotMaker(RUN)
    return _last(maker.steps(fleet.merge, window, STARTED_NS, window.end_ns))


def final_of(merge: Merge, maker: SnapshotMaker | None = None, end_ns: int = 10 * NS_PER_S) -> Snapshot:
    maker = maker or SnapshotMaker(RUN)
    return _last(maker.steps(merge, None, STARTED_NS, end_ns, is_final=True))


def _last(steps: Iterable[Snapshot | None]) -> Snapshot:
    """All steps at once."""
    return [step for step in steps if step is not None][-1]


def counts_of(of: Snapshot) -> dict[tuple[str, str | None, str, str], int]:
    """Of requests: by journey, request, outcome and region."""
    found: dict[tuple[str, str | None, str, str], int] = {}
    for series in of.series:
        if series.labels.kind == "request":
            labels = series.labels
            found[labels.journey, labels.request, labels.outcome, labels.region] = series.count
    return found


def series_of(of: Snapshot, **wanted: object) -> Series:
    found = [one for one in of.series if all(getattr(one.labels, name) == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def eventually(look: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for what another thread does."""
    until_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < until_s, "it did not come to that"
        time.sleep(0.005)


class KeepingSink(Sink):
    """Keeps what it is given, or fails as it is told to."""

    def __init__(self, trouble: str = "") -> None:
        super().__init__("kept", "here")
        self.trouble = trouble
        self.got: list[Snapshot] = []
        self.tries = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def deliver(self, snapshot: Snapshot) -> None:
        self.tries += 1
        self.may_go_on.wait(60)
        if self.trouble:
            raise Undelivered(self.trouble)
        self.got.append(snapshot)

    def close(self) -> None:
        self.may_go_on.set()


@dataclass(frozen=True, slots=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpReceiver:
    """Takes POSTs. What it answers can be changed while it goes on."""

    port: int = 0
    status: int = 200
    answer: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hangs: threading.Event | None = None
    """Answers nothing until it is set."""
    got: list[Got] = field(default_factory=list)
    echoes: str = ""
    """A header whose value is the answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def http_receiver(port: int = 0, **how: Any) -> Iterator[HttpReceiver]:
    receiver = HttpReceiver(**how)
    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.hangs is not None:
                receiver.hangs.wait(60)
            receiver.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = self.headers.get(receiver.echoes, "").encode() if receiver.echoes else receiver.answer
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield receiver
        finally:
            if receiver.hangs is not None:
                receiver.hangs.set()
            server.shutdown()
            for one in connections:  # who keeps his alive would be served on
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def udp_receiver() -> Iterator[tuple[int, list[str]]]:
    """The port, and the packets that came."""
    packets: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.02)
        is_over = threading.Event()

        def take() -> None:
            while not is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    packets.append(receiver.recv(65536).decode())

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield receiver.getsockname()[1], packets
        finally:
            is_over.set()
            thread.join()
