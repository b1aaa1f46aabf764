"""A target that writes down each request in the order in which they come, with the time: who went before whom."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter_ns

from tests.support.in_thread import serving

__all__ = ["Orderly", "orderly_target"]


@dataclass
class Orderly:
    url: str
    seen: list[tuple[int, str]] = field(default_factory=list)
    """(time on `perf_counter_ns`, path); a request stands here before its answer is sent."""

    def paths(self) -> list[str]:
        return [path for _, path in self.seen]


@contextlib.contextmanager
def orderly_target() -> Iterator[Orderly]:
    """On a free port of loopback, in threads of this process; answers every GET with 200."""
    lock = threading.Lock()
    target = Orderly("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            with lock:
                target.seen.append((perf_counter_ns(), self.path))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024

    with serving(Server(("127.0.0.1", 0), Handler)) as target.url:
        yield target
