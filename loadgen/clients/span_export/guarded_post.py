"""Posts to one URL from a thread, and asks the target guard before each connection.

The load's connections belong to the event loop, so this uses the standard library. The address itself is checked, as
for targets: a name that leads elsewhere is refused. Redirects are not followed, and proxies are not used.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.span_export.endpoint import Endpoint
from loadgen.errors import RequestFailed
from loadgen.outside_text import one_line

__all__ = ["GuardedPost", "PostFailed"]

CONNECT_S: Final = 2.0
ANSWER_S: Final = 5.0
"""The time limit for each read and write."""
_MOST_BYTES: Final = 16 * 1024
"""The most bytes of an answer that are read."""
_AGAIN: Final = frozenset({429, 502, 503, 504})
"""The statuses after which OTLP allows the same data to be sent again."""


class PostFailed(Exception):
    """The receiver did not accept the data. The text gives the reason, without secrets.

    may_repeat: a later attempt may succeed. after_s: how long the receiver asked to wait; 0 if it did not.
    """

    def __init__(self, why: str, *, may_repeat: bool, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.may_repeat, self.after_s = may_repeat, after_s


class GuardedPost:
    """Posts to one receiver over one kept connection. One thread uses it.

    headers: sent with each request. secrets: never shown. ca: a PEM file that is trusted besides the system's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        guard: TargetGuard,
        headers: Mapping[str, str],
        secrets: tuple[str, ...] = (),
        ca: str | None = None,
    ) -> None:
        self._endpoint, self._guard, self._headers, self._secrets = endpoint, guard, dict(headers), secrets
        self._tls: ssl.SSLContext | None = None
        if endpoint.is_tls:
            self._tls = ssl.create_default_context()
            if ca is not None:
                self._tls.load_verify_locations(ca)
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> bytes:
        """Send a body, and return the beginning of the answer's body.

        Raises:
            PostFailed: no connection, no answer in time, a status other than 2xx, or the guard refused the address.
        """
        is_kept = self._connection is not None
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not is_kept or isinstance(error, TimeoutError):
                raise PostFailed(self._plain(str(error) or type(error).__name__), may_repeat=True) from None
        try:  # the receiver has closed the kept connection
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PostFailed(self._plain(str(error) or type(error).__name__), may_repeat=True) from None

    def close(self) -> None:
        """Close the connection to the receiver."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> bytes:
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port, timeout=ANSWER_S)
            connection.sock = self._connect()
            self._connection = connection
        connection.request("POST", self._endpoint.path, body, self._headers)
        answer = connection.getresponse()
        found = answer.read(_MOST_BYTES)
        if answer.read(1):  # more than anybody wants to know
            self.close()
        if 200 <= answer.status < 300:
            return found
        text = self._plain(found.decode("utf-8", "replace"))
        raise PostFailed(
            f"http {answer.status}{f': {text}' if text else ''}",
            may_repeat=answer.status in _AGAIN,
            after_s=_seconds(answer.headers.get("Retry-After", "")),
        )

    def _connect(self) -> socket.socket:
        host, port = self._endpoint.host, self._endpoint.port
        failure: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._permit(str(address[0]))
            found = socket.socket(family, kind, protocol)
            try:
                found.settimeout(CONNECT_S)
                found.connect(address)
                found.settimeout(ANSWER_S)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return found if self._tls is None else self._tls.wrap_socket(found, server_hostname=host)
            except OSError as error:
                found.close()
                failure = error
        raise failure

    def _permit(self, address: str) -> None:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            asyncio.run(self._guard.check(host, address, port))
        except RequestFailed as refused:
            raise PostFailed(self._plain(f"{refused.outcome} ({refused.detail})"), may_repeat=False) from None

    def _plain(self, text: str) -> str:
        """Return a text of outside as one short line, in which the secrets are masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(" ".join(text.split()), 160)


def _seconds(text: str) -> float:
    return min(30.0, float(text)) if text.isascii() and text.isdecimal() else 0.0
