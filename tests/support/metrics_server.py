"""A server of one page of metrics on a free port, in a thread: it can hang, drip, break off, or answer anything."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["MetricsServer", "metrics_server", "page_reply", "vllm_page"]


def page_reply(body: str | bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP response."""
    data = body.encode() if isinstance(body, str) else body
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    )
    return head.encode() + data


def vllm_page(n: int, *, old: bool = False, engines: int = 1, running: float = 3) -> str:
    """A page of vLLM after `n` requests of 100 prompt and 30 generated tokens, 40 of the 100 from the prefix cache."""
    cache = "gpu_cache_usage_perc" if old else "kv_cache_usage_perc"
    itl = "time_per_output_token_seconds" if old else "inter_token_latency_seconds"
    lines = []
    for engine in range(engines):
        labels = f'engine="{engine}",model_name="m"'
        lines += [
            f"vllm:num_requests_running{{{labels}}} {running}",
            f"vllm:num_requests_waiting{{{labels}}} 0.0",
            f"vllm:{cache}{{{labels}}} {0.25 * (engine + 1)}",
            f"vllm:prefix_cache_queries_total{{{labels}}} {100.0 * n}",
            f"vllm:prefix_cache_hits_total{{{labels}}} {40.0 * n}",
            f"vllm:num_preemptions_total{{{labels}}} 0.0",
            f"vllm:prompt_tokens_total{{{labels}}} {100.0 * n}",
            f"vllm:generation_tokens_total{{{labels}}} {30.0 * n}",
        ]
        for name in ("time_to_first_token_seconds", itl, "request_queue_time_seconds"):
            lines += [
                f'vllm:{name}_bucket{{{labels},le="0.25"}} {float(n // 2)}',
                f'vllm:{name}_bucket{{{labels},le="0.5"}} {float(n)}',
                f'vllm:{name}_bucket{{{labels},le="+Inf"}} {float(n)}',
                f"vllm:{name}_count{{{labels}}} {float(n)}",
                f"vllm:{name}_sum{{{labels}}} {0.3 * n}",
            ]
    return "# HELP vllm:num_requests_running Number of requests.\n" + "\n".join(lines) + "\n"


@dataclass
class MetricsServer:
    """A running server. `requests` has what it received, heads and bodies; `answer` may be replaced at any time."""

    port: int
    answer: Callable[[socket.socket], None]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    def say(self, page: Callable[[], str | bytes]) -> None:
        """Answer each request with this page."""
        self.answer = lambda connection: connection.sendall(page_reply(page()))

    def reply(self, data: bytes) -> None:
        """Answer each request with these bytes, and close the connection."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(data)
            connection.close()

        self.answer = answer

    def hang(self) -> None:
        """Never answer."""

        def answer(_: socket.socket) -> None:
            self.is_over.wait(30)

        self.answer = answer

    def drip(self) -> None:
        """Send headers for ever, each byte within any time limit of a single read."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.is_over.wait(0.02):
                connection.sendall(b"x")

        self.answer = answer


def _body_bytes(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


@contextmanager
def metrics_server(page: Callable[[], str | bytes] | None = None) -> Iterator[MetricsServer]:
    """Serve `page()` at each request; without it, a page of vLLM."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = MetricsServer(listener.getsockname()[1], lambda _: None)
    server.say(page or (lambda: vllm_page(10)))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while True:
                head, body = b"", b""
                while b"\r\n\r\n" not in head:
                    part = connection.recv(65536)
                    if not part:
                        return
                    head += part
                head, _, body = head.partition(b"\r\n\r\n")
                # A socket that is closed with unread bytes resets the connection, and the client may lose the answer.
                while len(body) < _body_bytes(head):
                    body += connection.recv(65536)
                server.requests.append(head + b"\r\n\r\n" + body)
                server.answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        server.is_over.set()
        listener.close()
