"""A stand-in for a trace backend on loopback: a real HTTP server whose answers a test writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.in_thread import serving

__all__ = ["Asked", "Said", "StandIn", "stand_in"]


@dataclass(frozen=True)
class Asked:
    """A request that came. headers: names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """An answer. cut: bytes of the body that are announced and never sent. silent: no answer at all."""

    status: int = 200
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut: int = 0
    silent: bool = False


@dataclass
class StandIn:
    """A running one. `answer` may be replaced at any time; `asked` has all requests."""

    url: str
    answer: Callable[[Asked], Said]
    asked: list[Asked] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


@contextmanager
def stand_in(answer: Callable[[Asked], Said]) -> Iterator[StandIn]:
    """Serve `answer(request)` on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else a delayed ACK costs 40 ms an answer

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            server.asked.append(asked)
            said = server.answer(asked)
            if said.silent:
                server.is_over.wait(30)
                self.close_connection = True
                return
            data = said.body.encode() if isinstance(said.body, str) else said.body
            with suppress(OSError):
                self.send_response(said.status)
                self.send_header("Content-Type", said.kind)
                self.send_header("Content-Length", str(len(data) + said.cut))
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            self.close_connection = bool(said.cut)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = StandIn(f"http://127.0.0.1:{httpd.server_port}", answer)
    with serving(httpd):
        try:
            yield server
        finally:
            server.is_over.set()
