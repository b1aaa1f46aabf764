"""The output `prometheus=HOST:PORT`: an address that Prometheus scrapes; the only importer of prometheus_client.

Histograms have classic buckets (`buckets.py`), no native ones. The buckets of native histograms are powers of
2^(2^-n), and our slots lie across them, so their counts would be guesses. Also, prometheus_client writes native
histograms only for OpenMetrics 2.0, which no released Prometheus requests.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET
from typing import Any, Final

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from loadgen.sinks.buckets import EDGES_CLS, EDGES_S
from loadgen.sinks.metric_names_and_labels import Family, Point, families, values_of
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.snapshot import Snapshot

__all__ = ["ScrapeSink"]

_KEPT_S: Final = 300.0
"""How long the figures of a finished run can be scraped: as long as Prometheus looks back."""
_LONGEST_S: Final = 30.0
"""The longest time that the end of a program waits for a last scrape."""
_MAX_RUNS: Final = 40
"""The most runs in a scrape; older ones are dropped."""
_REQUEST_S: Final = 5.0
"""The time limit for receiving a request, and for sending each part of the response."""
_AT_ONCE: Final = 4
"""The most scrapes at the same time; more are refused."""
_EDGES: Final = (*map(repr, EDGES_S), "+Inf")
_EDGES_CLS: Final = (*map(repr, EDGES_CLS), "+Inf")


class ScrapeSink(Sink):
    """Answers `/metrics` (and any other path) with the newest figures of each run.

    Raises:
        OSError: the server cannot listen at the address.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = _Server((host, port), self, AF_INET6 if ":" in host else AF_INET)
        shown = f"[{host}]" if ":" in host else host
        super().__init__("prometheus", f"{shown}:{self._server.server_address[1]}")
        self._lock = threading.Lock()
        self._newest: dict[str, Snapshot] = {}
        self._over_s: dict[str, float] = {}
        """For each finished run: when it ended, in seconds of `time.monotonic`."""
        self._taken: dict[str, int] = {}
        self._was_taken: set[str] = set()
        """Runs whose last figures were scraped."""
        self._gap_s, self._last_s = 0.0, 0.0
        """The time between the last two scrapes, and the time of the last one (at first: of the first snapshot)."""
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="out-scrapes", daemon=True).start()

    def deliver(self, snapshot: Snapshot) -> None:
        run_id = snapshot.run.run_id
        with self._lock:
            self._newest[run_id] = snapshot
            self._last_s = self._last_s or time.monotonic()
            self._taken.setdefault(run_id, 0)
            if snapshot.is_final:
                self._over_s[run_id] = time.monotonic()
            while len(self._newest) > _MAX_RUNS:
                self._forget(next(iter(self._newest)))

    def taken(self, run_id: str) -> int | None:
        return self._taken.get(run_id, 0)

    def awaits_s(self, run_id: str) -> float:
        """Return how many seconds to wait for the last scrape of a run: 1.5 times the time between the last two
        scrapes. Return 0 if the run was never scraped, or if its last figures were.
        """
        with self._lock:
            if not self._taken.get(run_id) or run_id in self._was_taken:
                return 0.0
            return min(max(self._gap_s, 1.0) * 1.5, _LONGEST_S)

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return (the body, the content type) of the answer to a scrape, with the newest figures of all runs, and count
        the scrape. accept: the request's Accept header.
        """
        with self._lock:
            now_s = time.monotonic()
            for run_id in [run_id for run_id, over_s in self._over_s.items() if now_s - over_s > _KEPT_S]:
                self._forget(run_id)
            snapshots = tuple(self._newest.values())
        # Encoded without the lock, so that `deliver` and other scrapes do not wait for it.
        encode, content_type = choose_encoder(accept)
        data = encode(_Collected(snapshots))
        with self._lock:
            if snapshots:
                self._gap_s, self._last_s = now_s - self._last_s, now_s
            for snapshot in snapshots:
                run_id = snapshot.run.run_id
                self._taken[run_id] = self._taken.get(run_id, 0) + 1
                if snapshot.is_final:
                    self._was_taken.add(run_id)
        return data, content_type

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _forget(self, run_id: str) -> None:
        self._newest.pop(run_id, None)
        self._over_s.pop(run_id, None)
        self._taken.pop(run_id, None)
        self._was_taken.discard(run_id)


class _Collected(Collector):
    """Converts snapshots to the metrics of prometheus_client."""

    def __init__(self, snapshots: tuple[Snapshot, ...]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        for family, points in families(self._snapshots):
            if points:
                yield _metric(family, points)


def _metric(family: Family, points: list[Point]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for point in points:
            assert point.series is not None
            counts = zip(_EDGES if family.unit else _EDGES_CLS, values_of(point), strict=True)
            total = point.series.sum_ns / 1e9 * point.series.labels.per_s
            histogram.add_metric(point.labels, list(counts), total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.help, labels=family.labels)
    for point in points:
        made.add_metric(point.labels, point.value)
    return made


class _Server(ThreadingHTTPServer):
    """Serves each request in a thread, and a few at a time. A slow client blocks only its thread, for some seconds."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], sink: ScrapeSink, family: int) -> None:
        self.address_family, self.sink = family, sink
        self.turns = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind the server to its address, without the look-up of the host name that the standard library does.

        With SO_REUSEADDR a port that was closed a moment ago can be used again; a port in use still cannot.
        """
        self.socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.turns.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started: the turn would stay taken for ever
            self.turns.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.turns.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors while a request is answered, because they mean that the client has closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_S
    server: _Server

    def do_GET(self) -> None:
        data, content_type = self.server.sink.answer(self.headers.get("Accept") or "")
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        if "gzip" in (self.headers.get("Accept-Encoding") or ""):
            data = gzip.compress(data, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: scrapes are not logged."""
