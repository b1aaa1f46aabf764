"""Bytes that are written for a proxy, and the hosts that bypass it: `Http.proxy`, `no_proxy` and `proxy_auth`.

A request for http:// that a proxy forwards has the whole URL in its first line (RFC 9112, 3.2.2), followed by the
proxy's credentials. Both are part of a cached route, so a request costs no more than without a proxy. They are
not headers of the user, so no redirect or auth flow can carry them to another host.

The proxy's user and password are `Http.proxy_auth`. They are sent with each CONNECT and each forwarded request, and
nowhere else.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_address, ip_network

from loadgen.clients.net.settings import Http
from loadgen.errors import UsageError

__all__ = ["Excepted", "Forward", "proxy_login", "request_line"]


class Excepted:
    """The hosts of `Http.no_proxy`, which are reached without the proxy."""

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
    """Writes the first lines of http:// requests for a proxy. All routes of a worker share one."""

    def __init__(self, http: Http) -> None:
        """Prepare requests for the proxy of `http`. Raises the same errors as `proxy_login`."""
        self._excepted = Excepted(tuple(http.no_proxy))
        self._login = proxy_login(http)

    @classmethod
    def of(cls, http: Http) -> Forward | None:
        """Return a Forward, which writes requests for the plan's proxy; None if the plan has no proxy."""
        return None if http.proxy is None else cls(http)

    def first_lines(self, method: bytes, scheme: str, host: str, netloc: bytes, raw_path: bytes) -> bytes:
        """Return the request line of a request. If the request goes through the proxy, the line contains the whole URL,
        and the proxy's login follows.
        """
        if scheme != "http" or host in self._excepted:
            return request_line(method, raw_path)
        return request_line(method, b"http://" + netloc + raw_path) + self._login


def request_line(method: bytes, target: bytes) -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n"


def proxy_login(http: Http) -> bytes:
    """Return the header line Proxy-Authorization for the plan's proxy; b"" if the plan sets no `proxy_auth`.

    Raises:
        UsageError: the secret's value is not user:password.
        ScenarioError: the secret is missing.
    """
    if http.proxy_auth is None:
        return b""
    login = http.proxy_auth.reveal().strip()
    if ":" not in login or not login.isprintable():
        raise UsageError(
            f'proxy_auth: the value of secret("{http.proxy_auth.name}") must be user:password',
            hint="set it as for curl's --proxy-user, for example shop:opensesame",
        )
    return b"Proxy-Authorization: Basic " + b64encode(login.encode()) + b"\r\n"


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
