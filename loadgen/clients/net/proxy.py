"""Through a proxy: https:// by a tunnel (CONNECT), http:// by asking it for the whole URL.

What the proxy does is told from what the target does. It cannot be reached: `proxy refused`, `proxy dns` ...;
it refuses the tunnel: `proxy 407`, `proxy 403`, `proxy 502`; it answers something else than HTTP, or nothing:
`proxy protocol`, `proxy reset`. Of http:// it answers in the target's place, and nobody can tell whose `http 502`
that is. A proxy that hangs is a `timeout`, as a target is; the run says that it was the proxy. TLS through a tunnel
is the target's own, verified as without the proxy. What is written to it is `forward.py`'s.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network, TcpNetwork
from loadgen.clients.net.proxy_form import Excepted, proxy_login
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import OPEN, Fence
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.outcomes import OWN_FAULTS, PROTOCOL, RESET, TIMEOUT, connect_failure
from loadgen.errors import RequestFailed

__all__ = ["ProxyNetwork", "network_of"]

MAX_ANSWER_BYTES: Final = 64 * 1024
SILENT_S: Final = 1.0
"""A tunnel that is given up after so long was the proxy's doing."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]{0,100}))?[^\r\n]*\r?\n")
_END: Final = b"\r\n\r\n"


class ProxyNetwork:
    """Goes through the proxy, but for the hosts that are excepted, to which `direct` goes."""

    def __init__(self, http: Http, direct: TcpNetwork, note: Callable[[str], None] = lambda _: None) -> None:
        """Raises what `proxy_login` raises."""
        assert http.proxy_address is not None
        self._proxy, self._proxy_port = http.proxy_address
        self._where = f"proxy {self._proxy}:{self._proxy_port}"
        self._excepted = Excepted(tuple(http.no_proxy))
        self._login = proxy_login(http)
        self._direct, self._note = direct, note

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
        await self._direct.fence.check_behind(host, port)
        if tls is None:
            try:
                return await self._direct.connect(self._proxy, self._proxy_port, None, None, factory, opening)
            except RequestFailed as failure:
                raise self._proxys(failure) from failure.__cause__
        sock = await self._tunnel(host, port, opening)
        where = f"{host}:{port} through {self._where}"
        return await self._direct.adopt(sock, tls, server_hostname, factory, where, opening)

    async def _tunnel(self, host: str, port: int, opening: Opening) -> socket.socket:
        """A socket that the proxy has connected with the target."""
        try:
            sock = await self._direct.open_socket(self._proxy, self._proxy_port, opening)
        except RequestFailed as failure:
            raise self._proxys(failure) from failure.__cause__
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        begun_s = monotonic()
        request = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: loadgen\r\n".encode("ascii")
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, request + self._login + b"\r\n")
            self._judge(await self._answer(loop, sock))
        except OSError as error:
            sock.close()
            raise self._proxys(connect_failure(error, self._where)) from error
        except BaseException as error:
            sock.close()
            if isinstance(error, asyncio.CancelledError) and monotonic() - begun_s >= SILENT_S:
                self._note(f"{self._where} had not opened a tunnel when the time of a request was over")
            raise
        return sock

    async def _answer(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
        """The head of its answer. Of a tunnel nothing follows it before we speak; of a refusal its body is left."""
        answer = b""
        while _END not in answer:
            part = await loop.sock_recv(sock, 4096)
            if not part and not answer:
                raise RequestFailed(f"proxy {RESET}", f"{self._where} closed the connection without an answer")
            if not part or len(answer) > MAX_ANSWER_BYTES or not b"HTTP/1.".startswith((answer + part)[:7]):
                raise RequestFailed(f"proxy {PROTOCOL}", f"{self._where} does not speak HTTP: {(answer + part)[:60]!r}")
            answer += part
        return answer

    def _judge(self, answer: bytes) -> None:
        status = _STATUS.match(answer)
        if status is None:
            raise RequestFailed(f"proxy {PROTOCOL}", f"{self._where} does not speak HTTP: {answer[:60]!r}")
        code = int(status[1])
        if not 200 <= code < 300:
            said = (status[2] or b"").decode("latin-1").strip()
            raise RequestFailed(f"proxy {code}", f"{self._where} refused the tunnel: {code} {said}".rstrip())
        if not answer.endswith(_END):
            raise RequestFailed(f"proxy {PROTOCOL}", f"{self._where} spoke on after it had opened the tunnel")

    def _proxys(self, failure: RequestFailed) -> RequestFailed:
        """The same as the proxy's, unless it is our own, or a time-out, which is censored under its name."""
        if failure.outcome in OWN_FAULTS or failure.outcome == TIMEOUT:
            return failure
        return RequestFailed(f"proxy {failure.outcome}", failure.detail)


def network_of(http: Http, note: Callable[[str], None] = lambda _: None, fence: Fence = OPEN) -> Network:
    """The network of a plan's `Http`. note: is told what a reader of the figures has to know. fence: where it may go.

    Raises:
        UsageError: what it names is not there, or is not of its form.
        ScenarioError: a secret was not given.
    """
    direct = TcpNetwork(http, note=note, fence=fence)
    return direct if http.proxy is None else ProxyNetwork(http, direct, note)
