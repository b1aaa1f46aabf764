"""A server for the live page that does what the test says: what it serves, when it drops a connection, whom it lets in.

It is not the controller's own. It is on the loopback, in threads of its own, since the browser's driver needs this one.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loadgen.report.html import PAGE
from tests.support.documents import Document

__all__ = ["POLICY", "PageServer"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}


class PageServer:
    """`document` is what the history is; `tell` sends changes to all who listen, and to those who come later."""

    def __init__(self, document: Document, *, token: str | None = None, role: str = "admin") -> None:
        self.document, self.token, self.role = copy.deepcopy(document), token, role
        self.deeds: list[tuple[str, Document]] = []
        self.refusal: tuple[int, Document] | None = None
        """What a deed is answered, where not with success."""
        self.is_down = False
        self.histories = 0
        self.last_ids: list[str | None] = []
        """Last-Event-ID of each who began to listen."""
        self._events: list[tuple[int, str, Document]] = []
        self._changed = threading.Condition()
        self._epoch = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def run_url(self) -> str:
        return f"{self.url}/runs/{self.document['run']['id']}"

    @classmethod
    @contextmanager
    def serving(cls, document: Document, *, token: str | None = None, role: str = "admin") -> Iterator[PageServer]:
        server = cls(document, token=token, role=role)
        thread = threading.Thread(target=server._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.drop()
            server._server.shutdown()
            server._server.server_close()
            thread.join()

    def tell(self, kind: str, change: Document, whole: Document | None = None) -> None:
        """One change; `whole`: what the history is from now on."""
        with self._changed:
            self._events.append((int(change["seq"]), kind, change))
            if whole is not None:
                self.document = copy.deepcopy(whole)
            self._changed.notify_all()

    def drop(self, *, and_stay_down: bool = False) -> None:
        """Close every stream; with `and_stay_down` answer nothing more until `is_down` is False."""
        with self._changed:
            self._epoch += 1
            self.is_down = and_stay_down
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server._get(self)

            def do_POST(self) -> None:
                server._post(self)

        return Handler

    def _get(self, ask: BaseHTTPRequestHandler) -> None:
        path = ask.path.split("?")[0]
        if self.is_down:
            ask.close_connection = True
        elif path == "/" or path.startswith("/runs/"):
            _answer(ask, 200, (PAGE / "index.html").read_bytes(), TYPES[".html"])
        elif path.startswith("/page/"):
            file = PAGE / path.removeprefix("/page/")
            _answer(ask, 200, file.read_bytes(), TYPES[file.suffix])
        elif not self._may(ask):
            _answer_json(ask, 401, {"error": "who are you?", "hint": "open the address that loadgen printed"})
        elif path == "/api/me":
            _answer_json(ask, 200, {"role": self.role})
        elif path == "/api/runs":
            run = self.document["run"]
            _answer_json(ask, 200, [{**run, "result": (self.document["verdict"] or {}).get("result")}])
        elif path.endswith("/history"):
            self.histories += 1
            _answer_json(ask, 200, self.document)
        elif path.endswith("/events"):
            self._stream(ask)
        else:
            _answer_json(ask, 404, {"error": "no such thing"})

    def _post(self, ask: BaseHTTPRequestHandler) -> None:
        body = json.loads(ask.rfile.read(int(ask.headers["Content-Length"])))
        name = ask.path.rsplit("/", 1)[-1]
        if not self._may(ask):
            _answer_json(ask, 401, {"error": "who are you?"})
        elif self.refusal is not None:
            _answer_json(ask, *self.refusal)
        else:
            self.deeds.append((name, body))
            _answer_json(ask, 200, {"lines": [f"{name}: done"]})

    def _stream(self, ask: BaseHTTPRequestHandler) -> None:
        last = ask.headers["Last-Event-ID"]
        self.last_ids.append(last)
        ask.send_response(200)
        ask.send_header("Content-Type", "text/event-stream")
        ask.end_headers()
        sent = int(last or 0)
        epoch = self._epoch
        ask.close_connection = True
        while True:
            with self._changed:
                if self._epoch != epoch:
                    return
                due = [event for event in self._events if event[0] > sent]
                if not due:
                    self._changed.wait()
                    continue
            for seq, kind, change in due:
                text = f"id: {seq}\nevent: {kind}\ndata: {json.dumps(change)}\n\n"
                ask.wfile.write(text.encode())
                sent = seq

    def _may(self, ask: BaseHTTPRequestHandler) -> bool:
        return self.token is None or ask.headers["Authorization"] == f"Bearer {self.token}"


def _answer(ask: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> None:
    ask.send_response(status)
    ask.send_header("Content-Type", kind)
    ask.send_header("Content-Length", str(len(body)))
    ask.send_header("Content-Security-Policy", POLICY)
    ask.send_header("X-Content-Type-Options", "nosniff")
    ask.end_headers()
    ask.wfile.write(body)


def _answer_json(ask: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    _answer(ask, status, json.dumps(body).encode(), "application/json")
