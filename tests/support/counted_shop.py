"""A shop that counts its requests for Prometheus and keeps a log of them, with restarts and scrapes that fail."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.ports import free_port

__all__ = ["CountedShop", "counted_shop"]

BOUNDS = ("0.1", "0.3", "+Inf")


@dataclass
class CountedShop:
    """log: (Unix time, "good", "bad" or "scrape"), in the order in which they happened."""

    port: int
    log: list[tuple[float, str]] = field(default_factory=list)
    fail_between: tuple[float, float] = (0.0, 0.0)
    """Scrapes in this time fail."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _buckets: dict[str, int] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None
    _is_over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to answer, with all counters at 0."""
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = shop.page()
                self.send_response(200 if body else 500)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._buckets = dict.fromkeys(BOUNDS, 0)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Lose all counters and answer no more."""
        with self._lock:
            server, self._server = self._server, None
        assert server is not None
        server.shutdown()
        server.server_close()

    def page(self) -> bytes:
        with self._lock:
            now = time.time()
            if self.fail_between[0] <= now <= self.fail_between[1] or self._server is None:
                return b""
            self.log.append((now, "scrape"))
            lines = [f'shop_seconds_bucket{{le="{bound}"}} {count}' for bound, count in self._buckets.items()]
            lines.append(f"shop_seconds_count {self._buckets['+Inf']}")
            return ("# TYPE shop_seconds histogram\n" + "\n".join(lines) + "\nshop_seconds_sum 1\n").encode()

    def serve(self, draw: random.Random) -> None:
        """Serve requests until the shop ends; each is within .3 s or not."""
        while not self._is_over.wait(draw.uniform(0.001, 0.02)):
            seconds = draw.choice((0.05, 0.2, 0.2, 0.7))
            with self._lock:
                if self._server is None:
                    continue
                self.log.append((time.time(), "good" if seconds <= 0.3 else "bad"))
                for bound in BOUNDS:
                    self._buckets[bound] += seconds <= float(bound)

    def between(self, first: float, last: float) -> tuple[int, int]:
        """Good and all requests between the two scrapes that began at these times."""
        times = [n for n, (at, what) in enumerate(self.log) if what == "scrape"]
        a, b = (min((n for n in times if self.log[n][0] >= edge - 0.005), default=-1) for edge in (first, last))
        words = [what for _, what in self.log[a:b] if what != "scrape"]
        return words.count("good"), len(words)


@contextmanager
def counted_shop() -> Iterator[CountedShop]:
    shop = CountedShop(free_port())
    shop.start()
    load = threading.Thread(target=shop.serve, args=(random.Random(1),), daemon=True)
    load.start()
    try:
        yield shop
    finally:
        shop._is_over.set()
        load.join(5)
        if shop._server is not None:
            shop.stop()
