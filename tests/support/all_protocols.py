"""One server of each protocol in one event loop, which count what they get: for runs with all protocols at once.

with in_thread(all_protocols()) as servers:
    scenario = servers.scenario(tmp_path)      # tests/data/scenarios/runs/protocols.py with the servers' addresses
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.grpc_server import GrpcServer, grpc_server
from tests.support.http3 import Http3Server, echo, http3_server
from tests.support.run import DATA
from tests.support.ws_servers import WsServer, ws_server

__all__ = ["AllServers", "all_protocols"]


@dataclass
class AllServers:
    """tcp, udp: connections, lines and datagrams that came."""

    grpc: GrpcServer
    ws: WsServer
    http3: Http3Server
    tcp_port: int
    udp_port: int
    tcp: Counter[str]
    udp: Counter[str]

    def scenario(self, folder: Path) -> Path:
        """Write the scenario with the addresses of these servers, and return its path."""
        text = (DATA / "protocols.py").read_text()
        ports = (self.grpc.port, self.ws.port, self.tcp_port, self.udp_port, self.http3.port)
        for number, port in enumerate(ports, 7001):
            text = text.replace(f":{number}", f":{port}")
        path = folder / "protocols.py"
        path.write_text(text)
        shutil.copy(self.http3.ca, folder / "ca.pem")
        return path

    def seen(self) -> Counter[str]:
        """What the servers have counted so far, by the names of the run's rows."""
        found = Counter({f"shop.v1.Cart/{name}": n for name, n in Counter(self.grpc.calls).items()})
        found["feed (connect)"] = len(self.ws.headers)
        found["join"] = sum('"op"' not in str(message) for message in self.ws.received)
        found["feed (close)"] = self.ws.closed.count(1000)
        found["TCP gate (connect)"] = self.tcp["connections"]
        found |= Counter({"ping": self.tcp["PING"], "echo": self.tcp["here"], "lookup": self.udp["lookup"]})
        found |= Counter(f"{asked.header(':method')} /shop" for asked in self.http3.asked)
        return +found


@asynccontextmanager
async def all_protocols() -> AsyncIterator[AllServers]:
    tcp, udp = Counter[str](), Counter[str]()
    tasks = set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        tcp["connections"] += 1
        with suppress(OSError, asyncio.CancelledError):
            async for line in reader:
                tcp[line.decode().strip()] += 1
                writer.write(b"PONG\n" if line == b"PING\n" else line)
        writer.close()

    class Names(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport: asyncio.DatagramTransport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            udp["lookup"] += 1
            self.transport.sendto(data[:4] + b"here", address)

    async with AsyncExitStack() as stack:
        grpc = await stack.enter_async_context(grpc_server())
        ws = await stack.enter_async_context(ws_server())
        http3 = await stack.enter_async_context(http3_server(echo))
        gate = await stack.enter_async_context(await asyncio.start_server(talk, "127.0.0.1", 0))
        stack.callback(lambda: [task.cancel() for task in tasks])
        dns, _ = await asyncio.get_running_loop().create_datagram_endpoint(Names, ("127.0.0.1", 0))
        stack.callback(dns.close)
        ports = gate.sockets[0].getsockname()[1], dns.get_extra_info("sockname")[1]
        yield AllServers(grpc, ws, http3, *ports, tcp, udp)
