"""The scripted AI inference server as a process or in a thread, and a plain client that stores every read."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.server import LlmServer

__all__ = ["Reply", "Wire", "answer_of", "chat_body", "llm_in_thread", "running_llm", "sends_of"]


def chat_body(text: str = "hello there", **more: Any) -> dict[str, Any]:
    """Return the body of a streamed chat completion."""
    return {"stream": True, "messages": [{"role": "user", "content": text}], **more}


@dataclass
class Reply:
    """A response as a plain reader got it."""

    status: int
    headers: dict[str, str]
    body: bytes
    ended: str
    """complete, closed (within the body) or reset."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """Time of each read (perf_counter ns) and the number of bytes of the whole response until then."""
    wire: bytes = b""
    sent_ns: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The blocks of the stream, with any line end, without their blank lines."""
        text = self.body.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
        return [block for block in text.split("\n\n") if block]

    @property
    def data(self) -> list[Any]:
        """The JSON of each event that has some."""
        lines = [line[6:] for event in self.events for line in event.split("\n") if line.startswith("data: {")]
        return [json.loads(line) for line in lines]


class Wire:
    """One connection to the server."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout=60)
        self._rest = b""

    def close(self) -> None:
        self.sock.close()

    def send(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> int:
        """Send a request and return the time before."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"host": "x", "content-length": str(len(content)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        sent_ns = perf_counter_ns()
        verb = method or ("GET" if body is None else "POST")
        self.sock.sendall(f"{verb} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        return sent_ns

    def read(self, sent_ns: int = 0) -> Reply:
        """Read one response to its end, or until the connection ends."""
        response, reads, ended = _Response(self._rest), [], ""
        while not response.is_complete and not ended:
            try:
                got = self.sock.recv(65_536)
            except ConnectionResetError:
                ended = "reset"
                continue
            if got:
                response.feed(got)
                reads.append((perf_counter_ns(), len(response.data)))
            else:
                ended = "closed"
        wire = bytes(response.data[: response.at] if response.is_complete else response.data)
        self._rest = bytes(response.data[response.at :]) if response.is_complete else b""
        body = b"".join(response.body)
        if response.headers.get("content-encoding") == "gzip":
            body = zlib.decompressobj(wbits=31).decompress(body)
        return Reply(response.status, response.headers, body, ended or "complete", reads, wire, sent_ns)

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        return self.read(self.send(path, body, headers))


class _Response:
    """Parses one response while it comes."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray()
        self.at = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.is_complete = False
        self.feed(data)

    def feed(self, got: bytes) -> None:
        self.data += got
        if not self.status and not self._head():
            return
        if "content-length" in self.headers:
            length = int(self.headers["content-length"])
            if len(self.data) >= self.at + length:
                self.body = [bytes(self.data[self.at : self.at + length])]
                self.at, self.is_complete = self.at + length, True
            return
        while (line_end := self.data.find(b"\r\n", self.at)) >= 0:
            length = int(self.data[self.at : line_end], 16)
            if len(self.data) < line_end + length + 4:
                return
            self.body.append(bytes(self.data[line_end + 2 : line_end + 2 + length]))
            self.at = line_end + length + 4
            if not length:
                self.is_complete = True
                return

    def _head(self) -> bool:
        head, blank, _ = self.data.partition(b"\r\n\r\n")
        if not blank:
            return False
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
        self.at = len(head) + 4
        return True


def answer_of(url: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """Return the response to one request on a connection of its own."""
    with contextlib.closing(Wire(url)) as wire:
        return wire.ask(path, body, headers)


@contextlib.contextmanager
def llm_in_thread(**options: Any) -> Iterator[LlmServer]:
    """Run the server in a thread of this process; without other options it answers at once."""
    server = LlmServer(LlmConfig.of_options(**{"ttft": "0ms", "itl": "0ms", **options}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.loop.stop()
        thread.join(60)


@contextlib.contextmanager
def running_llm(*options: str) -> Iterator[str]:
    """Start `python -m loadgen.target llm` on a free port, and yield its URL. It ends with the block."""
    command = [sys.executable, "-m", "loadgen.target", "llm", "--exit-with-stdin", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), f"the inference server did not start: {' '.join(command)}"
            yield url
        finally:
            process.terminate()
            process.wait(60)


def sends_of(log: Path | bytes) -> list[dict[str, Any]]:
    """Return the rows of the sends in a log."""
    content = log if isinstance(log, bytes) else log.read_bytes()
    return [row for row in map(json.loads, content.splitlines()) if row["type"] == "send"]
