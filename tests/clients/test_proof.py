"""A public host shows that it agrees: asked of a real server, which notes what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from loadgen.clients.net.consent_file import PATH, why_unproved

WORD = "9f2c61d05be8a743"


class Host(ThreadingHTTPServer):
    status, body, location = 200, b"", ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["host"]))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_host_that_shows_the_word_among_others_agrees(host: Host) -> None:
    host.body = f"# loadgen\nother-word-of-others\n  {WORD}\r\n".encode()
    assert why_unproved(host.origin, WORD) == ""
    assert host.asked == [(PATH, f"127.0.0.1:{host.server_port}")]


@pytest.mark.parametrize("body", [b"", WORD[:-1].encode(), f"x{WORD}".encode(), b"\xff\xfe\x00"])
def test_a_host_that_shows_something_else_does_not(host: Host, body: bytes) -> None:
    host.body = body
    assert why_unproved(host.origin, WORD) == f"{host.origin}{PATH} does not contain the word"


def test_neither_a_redirect_nor_an_error_nor_a_flood_proves_anything(host: Host) -> None:
    host.status, host.location, host.body = 302, f"{host.origin}/elsewhere", WORD.encode()
    assert why_unproved(host.origin, WORD) == f"{host.origin}{PATH} answered 302"
    host.status, host.location = 404, ""
    assert why_unproved(host.origin, WORD) == f"{host.origin}{PATH} answered 404"
    host.status, host.body = 200, f"{WORD}\n".encode() * 1000
    assert "is larger than 4096 bytes" in why_unproved(host.origin, WORD)
    assert {path for path, _ in host.asked} == {PATH}


def test_nobody_at_the_address_proves_nothing() -> None:
    assert "cannot be read" in why_unproved("http://127.0.0.1:1", WORD)


def test_where_the_plan_leads_a_name_elsewhere_it_is_asked_there_by_its_name(host: Host) -> None:
    host.body = WORD.encode()
    assert why_unproved(f"http://shop.example:{host.server_port}", WORD, "127.0.0.1") == ""
    assert host.asked == [(PATH, f"shop.example:{host.server_port}")]
