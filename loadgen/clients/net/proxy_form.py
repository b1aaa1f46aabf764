"""What is written for a proxy, and for which hosts: `Http.proxy`, `no_proxy` and `proxy_auth` as bytes.

A request for http:// that a proxy forwards has the whole URL in its first line (RFC 9112, 3.2.2), and the
proxy's credentials beside it. Both are part of a route, so a request costs no more than without a proxy. They are
no headers of the user's: a redirect or an auth flow that goes on to another host takes none of them along.

The proxy's user and password are `Http.proxy_auth`, sent with each CONNECT and each forwarded request, and
nowhere else.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_address, ip_network

from loadgen.clients.net.settings import Http
from loadgen.errors import UsageError

__all__ = ["Excepted", "Forward", "proxy_login", "request_line"]


class Excepted:
    """`Http.no_proxy`: which hosts are reached without the proxy."""

    def __init__(self, no_proxy: tuple[str, ...]) -> None:
        texts = [one.lower().removeprefix("*") for one in no_proxy]
        self._networks = [ip_network(one, strict=False) for one in texts if _is_network(one)]
        self._names = frozenset(one for one in texts if not one.startswith("."))
        self._below = tuple(one for one in texts if one.startswith("."))

    def __contains__(self, host: str) -> bool:
        if host in self._names or host.endswith(self._below) or f".{host}" in self._below:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class Forward:
    """How requests for http:// are written for a proxy: one for all routes of a worker."""

    def __init__(self, http: Http) -> None:
        """Raises what `proxy_login` raises."""
        self._excepted = Excepted(tuple(http.no_proxy))
        self._login = proxy_login(http)

    @classmethod
    def of(cls, http: Http) -> Forward | None:
        """None where there is no proxy."""
        return None if http.proxy is None else cls(http)

    def first_lines(self, method: bytes, scheme: str, host: str, netloc: bytes, raw_path: bytes) -> bytes:
        """The request line, and after it what is for the proxy alone; as without a proxy where it is not asked."""
        if scheme != "http" or host in self._excepted:
            return request_line(method, raw_path)
        return request_line(method, b"http://" + netloc + raw_path) + self._login


def request_line(method: bytes, target: bytes) -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n"


def proxy_login(http: Http) -> bytes:
    """The Proxy-Authorization line; empty without `proxy_auth`.

    Raises:
        UsageError: the secret is not user:password.
        ScenarioError: it was not given.
    """
    if http.proxy_auth is None:
        return b""
    login = http.proxy_auth.reveal().strip()
    if ":" not in login or not login.isprintable():
        raise UsageError(
            f'proxy_auth: the value of secret("{http.proxy_auth.name}") is no user:password',
            hint="its value is user:password, as curl's --proxy-user has it",
        )
    return b"Proxy-Authorization: Basic " + b64encode(login.encode()) + b"\r\n"


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
