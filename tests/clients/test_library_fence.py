"""Connections that client libraries open by themselves are checked against the allow-list of the run.

Servers are on loopback addresses: 127.0.0.1 is on the list, 127.0.0.2 is not. Each test takes down its fence.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import uvloop

from loadgen.allowlist import AllowList, Entry
from loadgen.clients.libraries.connects_in_c import library_of
from loadgen.clients.libraries.fence import ConnectionNotAllowed, LibraryFence, LibraryNotAllowed
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.dsl.users.exception_to_outcome import outcome_of
from loadgen.dsl.users.named_outcomes import name_failure

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
NO_ENTRY = "not allowed: no entry"


def listed(host: str, *addresses: str) -> AllowList:
    return AllowList(allow=(Entry(host=host, owner="us", expires=date(2999, 1, 1), addresses=addresses),))


@contextmanager
def fenced(
    loop: asyncio.AbstractEventLoop,
    allow: AllowList = listed("127.0.0.1"),  # noqa: B008  # frozen
    notes: list[str] | None = None,
    *,
    guard: TargetGuard | None = None,
    unchecked: tuple[str, ...] = (),
) -> Iterator[LibraryFence]:
    fence = LibraryFence(
        [guard or TargetGuard(allow)], note=(notes if notes is not None else []).append, unchecked=unchecked
    )
    fence.raise_around(loop)
    try:
        yield fence
    finally:
        fence.take_down()


@contextmanager
def listening(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


def run(kind: str, body: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        runner.run(asyncio.wait_for(body(), 20))


@pytest.mark.parametrize("kind", LOOPS)
def test_a_stream_to_a_listed_address_opens_and_one_to_another_address_does_not(kind: str) -> None:
    notes: list[str] = []

    async def body() -> None:
        with listening("127.0.0.1") as good, listening("127.0.0.2") as bad:
            with fenced(asyncio.get_running_loop(), notes=notes):
                _, writer = await asyncio.open_connection("127.0.0.1", good)
                writer.close()
                for _ in range(2):
                    with pytest.raises(ConnectionNotAllowed) as raised:
                        await asyncio.open_connection("127.0.0.2", bad)
                assert raised.value.outcome == NO_ENTRY
                assert isinstance(raised.value, OSError)
            _, writer = await asyncio.open_connection("127.0.0.2", bad)  # without the fence
            writer.close()
        (note,) = notes
        assert note.startswith("a library was not allowed to connect: 127.0.0.2:")

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_socket_that_the_loop_connects_is_checked(kind: str) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with listening("127.0.0.2") as bad, fenced(loop), socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionNotAllowed):
                await loop.sock_connect(sock, ("127.0.0.2", bad))

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_datagram_socket_with_a_peer_is_checked(kind: str) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with fenced(loop):
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 5353)
            )
            transport.close()
            with pytest.raises(ConnectionNotAllowed):
                await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.2", 5353))

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
def test_unix_sockets_are_refused(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with fenced(loop), pytest.raises(ConnectionNotAllowed) as raised:
            await loop.create_unix_connection(asyncio.Protocol, str(tmp_path / "s"))
        assert raised.value.outcome == "not allowed: unix socket"

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_blocking_library_in_a_thread_is_checked(kind: str) -> None:
    def connect(port: int, address: str) -> None:
        socket.create_connection((address, port), timeout=5).close()

    async def body() -> None:
        with listening("127.0.0.1") as good, listening("127.0.0.2") as bad, fenced(asyncio.get_running_loop()):
            await asyncio.to_thread(connect, good, "127.0.0.1")
            with pytest.raises(ConnectionNotAllowed):
                await asyncio.to_thread(connect, bad, "127.0.0.2")
            with pytest.raises(ConnectionNotAllowed), socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", ("127.0.0.2", bad))

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("way", ["loop", "thread", "socket by name"])
def test_an_entry_with_a_name_admits_the_address_to_which_this_name_leads(kind: str, way: str) -> None:
    allow = listed("localhost", "127.0.0.0/8", "::1/128")

    async def body() -> None:
        loop = asyncio.get_running_loop()
        with listening("127.0.0.1") as port, fenced(loop, allow):
            with pytest.raises(ConnectionNotAllowed):  # no look-up has led there
                await asyncio.open_connection("127.0.0.1", port)
            if way == "loop":
                found = await loop.getaddrinfo("localhost", port, family=socket.AF_INET, type=socket.SOCK_STREAM)
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, found[0][4])
            elif way == "thread":
                await asyncio.to_thread(lambda: socket.create_connection(("localhost", port), timeout=5).close())
            else:
                with socket.socket() as sock:
                    sock.connect(("localhost", port))

    run(kind, body)


@pytest.mark.parametrize("kind", LOOPS)
def test_connections_of_loadgen_itself_pass_with_the_name_that_admits_them(kind: str) -> None:
    allow = listed("localhost", "127.0.0.0/8", "::1/128")

    async def body() -> None:
        guard = TargetGuard(allow)
        network = TcpNetwork(guard=guard)
        with listening("127.0.0.1") as port, fenced(asyncio.get_running_loop(), guard=guard):
            sock = await network.open_socket("localhost", port, Opening())
            sock.close()

    run(kind, body)


def test_the_refusal_is_the_outcome_whatever_the_library_makes_of_it() -> None:
    class RedisError(Exception):
        pass

    def call() -> None:
        try:
            raise ConnectionNotAllowed(NO_ENTRY, "10.0.0.9:6379: no entry")
        except OSError as error:
            raise RedisError("cannot connect") from error

    with pytest.raises(RedisError) as raised:
        call()
    # An exception that the scenario itself raised would be its own fault; this frame stands for an installed library.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.clients.httpx_api.errors._was_caught_by_library", lambda _: True)
        name_failure(raised.value, {RedisError: "refused"})
    assert outcome_of(raised.value) == NO_ENTRY


def test_an_import_of_a_library_in_c_is_refused_unless_the_plan_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pycurl.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    loop = asyncio.new_event_loop()
    try:
        with fenced(loop), pytest.raises(LibraryNotAllowed) as raised:
            importlib.import_module("pycurl")
        assert isinstance(raised.value, ImportError)
        assert 'unchecked_libraries=["pycurl"]' in str(raised.value)
        with fenced(loop, unchecked=("pycurl",)):
            importlib.import_module("pycurl")
    finally:
        sys.modules.pop("pycurl", None)
        loop.close()


def test_modules_within_a_library_belong_to_it() -> None:
    assert library_of("confluent_kafka.admin") == library_of("confluent_kafka") == "confluent_kafka"
    assert library_of("google.api_core.grpc_helpers") == "grpc"
    assert library_of("grpc") is library_of("pyarrow") is library_of("psycopg_pool") is None
