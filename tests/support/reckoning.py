"""A target that notes when it was asked for what, in a process of its own: the judge of what a fleet really did."""

from __future__ import annotations

import multiprocessing
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep, time

__all__ = ["Reckoning", "reckoning"]


@dataclass(slots=True)
class Reckoning:
    """Requests in the order in which they came: (unix time, s; path)."""

    url: str
    log: Path
    seen: list[tuple[float, str]] = field(default_factory=list)

    def read(self) -> list[tuple[float, str]]:
        """All up to now."""
        lines = (line.partition(" ") for line in self.log.read_text().splitlines())
        self.seen = [(float(at), path) for at, _, path in lines]
        return self.seen

    def per_second(self, begin: float) -> Counter[int]:
        """How many in each second after `begin`."""
        return Counter(int(at - begin) for at, _ in self.seen if at >= begin)


def _serve(listener: socket.socket, log: str) -> None:
    import asyncio

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                file.write(f"{time():.6f} {head.split(b' ', 2)[1].decode()}\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, sock=listener)
        async with server:
            await server.serve_forever()

    with Path(log).open("w", buffering=1) as file:
        asyncio.run(main())


@contextmanager
def reckoning(folder: Path) -> Iterator[Reckoning]:
    log = folder / "asked.log"
    log.touch()
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, str(log)), daemon=True)
    process.start()
    try:
        yield Reckoning(f"http://127.0.0.1:{listener.getsockname()[1]}", log)
    finally:
        sleep(0.05)
        process.kill()
        process.join()
        listener.close()
