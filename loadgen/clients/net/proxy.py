"""Connections through a proxy: https:// through a tunnel (CONNECT), http:// by sending the proxy the whole URL.

Failures of the proxy have other outcomes than those of the target. The proxy cannot be reached: `proxy refused`,
`proxy dns` ... It refuses the tunnel: `proxy 407`, `proxy 403`, `proxy 502`. It does not answer with HTTP, or not at
all: `proxy protocol`, `proxy reset`. For http:// it answers in place of the target, so the origin of an `http 502` is
unknown. A proxy that hangs is a `timeout`, like a target that hangs, and the run notes that it was the proxy. TLS
through a tunnel is the target's own, verified as without a proxy. `proxy_requests.py` has what is written to the proxy.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from copy import copy
from time import monotonic
from typing import Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy_requests import Excepted, proxy_login
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import OPEN, TargetGuard
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.outcomes import OWN_FAULTS, PROTOCOL, RESET, TIMEOUT, connect_failure
from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.errors import RequestFailed, UsageError

__all__ = ["ProxyNetwork", "network_of"]

MAX_ANSWER_BYTES: Final = 64 * 1024
SILENT_S: Final = 1.0
"""A tunnel that is cancelled after waiting this long is blamed on the proxy."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]{0,100}))?[^\r\n]*\r?\n")
_END: Final = b"\r\n\r\n"


class ProxyNetwork:
    """Connects through the proxy; for excepted hosts it uses `direct`."""

    def __init__(self, http: Http, direct: TcpNetwork, note: Callable[[str], None] = lambda _: None) -> None:
        """Make the network of a plan with a proxy. `note` is called with hints about the measurements. Raises the same
        errors as `proxy_login`.
        """
        assert http.proxy_address is not None
        self._proxy, self._proxy_port = http.proxy_address
        self._where = f"proxy {self._proxy}:{self._proxy_port}"
        self._excepted = Excepted(tuple(http.no_proxy))
        self._login = proxy_login(http)
        self._direct, self._note = direct, note
        self._always_tunnels = False

    def tunnels(self) -> ProxyNetwork:
        """Return a network that opens a tunnel through the proxy also without TLS, as WebSocket needs it."""
        found = copy(self)
        found._always_tunnels = True
        return found

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        if host in self._excepted:
            return await self._direct.connect(host, port, tls, server_hostname, factory, opening)
        await self._direct.guard.check_behind(host, port)
        if tls is None and not self._always_tunnels:
            try:
                return await self._direct.connect(self._proxy, self._proxy_port, None, None, factory, opening)
            except RequestFailed as failure:
                raise self._as_proxy_failure(failure) from failure.__cause__
        sock = await self._tunnel(host, port, opening)
        where = f"{host}:{port} through {self._where}"
        return await self._direct.adopt(sock, tls, server_hostname, factory, where, opening)

    async def open_stream(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        factory: Callable[[], asyncio.Protocol],
        opening: Opening,
    ) -> None:
        """Connect through a tunnel (CONNECT), also without TLS."""
        if host in self._excepted:
            await self._direct.open_stream(host, port, tls, factory, opening)
            return
        await self._direct.guard.check_behind(host, port)
        sock = await self._tunnel(host, port, opening)
        where = f"{host}:{port} through {self._where}"
        await self._direct.adopt(sock, tls, host if tls is not None else None, factory, where, opening)

    async def open_datagrams(
        self, host: str, port: int, factory: Callable[[], asyncio.DatagramProtocol], opening: Opening
    ) -> None:
        if host not in self._excepted:
            raise UsageError(
                f"UDP to {host}:{port} cannot go through {self._where}", hint=f'write Http(no_proxy=["{host}"])'
            )
        await self._direct.open_datagrams(host, port, factory, opening)

    async def _tunnel(self, host: str, port: int, opening: Opening) -> socket.socket:
        """Connect to the proxy, ask it for a tunnel to host:port (CONNECT), and return the socket of the tunnel."""
        try:
            sock = await self._direct.open_socket(self._proxy, self._proxy_port, opening)
        except RequestFailed as failure:
            raise self._as_proxy_failure(failure) from failure.__cause__
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        begun_s = monotonic()
        request = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: loadgen\r\n".encode("ascii")
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, request + self._login + b"\r\n")
            self._judge(await self._answer(loop, sock))
        except OSError as error:
            sock.close()
            raise self._as_proxy_failure(connect_failure(error, self._where)) from error
        except BaseException as error:
            sock.close()
            if isinstance(error, asyncio.CancelledError) and monotonic() - begun_s >= SILENT_S:
                self._note(f"{self._where} had not opened a tunnel when a request timed out")
            raise
        return sock

    async def _answer(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
        """Read the proxy's answer to CONNECT, and return its head as bytes. A body after a refusal is not read."""
        answer = b""
        while _END not in answer:
            part = await loop.sock_recv(sock, 4096)
            if not part and not answer:
                raise RequestFailed(
                    f"proxy {RESET}", f"{self._where} closed the connection without an answer; check Http(proxy=...)"
                )
            # The first bytes are enough to recognise HTTP: a server of another protocol may never send an empty line.
            if not part or len(answer) > MAX_ANSWER_BYTES or not b"HTTP/1.".startswith((answer + part)[:7]):
                raise RequestFailed(
                    f"proxy {PROTOCOL}",
                    f"{self._where} does not speak HTTP: {(answer + part)[:60]!r}; check Http(proxy=...)",
                )
            answer += part
        return answer

    def _judge(self, answer: bytes) -> None:
        status = _STATUS.match(answer)
        if status is None:
            raise RequestFailed(
                f"proxy {PROTOCOL}", f"{self._where} does not speak HTTP: {answer[:60]!r}; check Http(proxy=...)"
            )
        code = int(status[1])
        if not 200 <= code < 300:
            reason = (status[2] or b"").decode("latin-1").strip()
            raise RequestFailed(f"proxy {code}", f"{self._where} refused the tunnel: {code} {reason}".rstrip())
        # Within a tunnel for TLS the client speaks first, so these bytes cannot be the target's. A target of `tcp://`
        # that speaks first is refused as well, because its first bytes would be lost here.
        if not answer.endswith(_END):
            raise RequestFailed(
                f"proxy {PROTOCOL}", f"{self._where} sent bytes right after it opened the tunnel; check Http(proxy=...)"
            )

    def _as_proxy_failure(self, failure: RequestFailed) -> RequestFailed:
        """Return a failure with the outcome "proxy ..." in place of "...". Generator faults and time-outs are returned
        unchanged.
        """
        if failure.outcome in OWN_FAULTS or failure.outcome == TIMEOUT:
            return failure
        return RequestFailed(f"proxy {failure.outcome}", failure.detail)


def network_of(
    http: Http,
    note: Callable[[str], None] = lambda _: None,
    guard: TargetGuard = OPEN,
    clock: KernelClock | None = None,
    answers: AnswerReads | None = None,
) -> TcpNetwork | ProxyNetwork:
    """Return the network that opens connections as the plan's `Http` settings require, for example through a proxy.

    note: is called with a text that readers of the measurements should know. fence: decides which addresses are
    allowed. clock, answers: as in `TcpNetwork`.

    Raises:
        UsageError: a file or address in the settings does not exist or is invalid.
        ScenarioError: a secret is missing.
    """
    direct = TcpNetwork(http, note=note, guard=guard, clock=clock, answers=answers)
    return direct if http.proxy is None else ProxyNetwork(http, direct, note)
