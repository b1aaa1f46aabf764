"""URLs of targets: which schemes a plan may have, their default ports, and host and port of a URL.

`http` and `https` are for `user.http`, gRPC and all other words of HTTP; `grpc` and `grpcs` (with TLS) are for gRPC
alone; `tcp`, `tcps` and `udp` are for `user.tcp` and `user.udp`. The others are for client libraries, which get the URL
by `user.target("cache")`. A protocol without a scheme of its own here is written as `tcp://HOST:PORT`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from loadgen.hostport import HostPort, of_url

__all__ = [
    "GRPC_SCHEMES",
    "HTTP_SCHEMES",
    "LINK_SCHEMES",
    "PORTS",
    "TargetUrl",
    "http_url_of_grpc",
    "is_grpc",
    "is_http",
    "place_of_url",
]

HTTP_SCHEMES: Final = ("http", "https")
GRPC_SCHEMES: Final = {"grpc": "http", "grpcs": "https"}
"""Schemes of gRPC, and those of the HTTP/2 that carries it. Their URLs have no path."""
LINK_SCHEMES: Final = ("tcp", "tcps", "udp")
"""Schemes of our own connections without HTTP. Their URLs have a port, and no path."""
PORTS: Final[dict[str, int | None]] = {
    "http": 80,
    "https": 443,
    "grpc": None,
    "grpcs": 443,
    "tcp": None,
    "tcps": None,
    "udp": None,
    "redis": 6379,
    "rediss": 6379,
    "valkey": 6379,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "mongodb": 27017,
    "kafka": 9092,
    "mqtt": 1883,
    "mqtts": 8883,
    "amqp": 5672,
    "amqps": 5671,
    "nats": 4222,
}
"""The default port of each scheme; None: the URL must have one."""


def is_http(url: str) -> bool:
    """Return True if a target's URL begins with http:// or https://."""
    return url.partition("://")[0].lower() in HTTP_SCHEMES


def is_grpc(url: str) -> bool:
    """Return True if a target's URL begins with grpc:// or grpcs://."""
    return url.partition("://")[0].lower() in GRPC_SCHEMES


def http_url_of_grpc(url: str) -> str:
    """Return the http or https URL of a gRPC target: "https://cart.example" for "grpcs://cart.example"."""
    scheme, _, rest = url.partition("://")
    return f"{GRPC_SCHEMES[scheme.lower()]}://{rest}"


class TargetUrl(str):
    """The URL of a target, which also has its parts: `user.target("broker").host`. Made of valid URLs only."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        return urlsplit(self).scheme

    @property
    def host(self) -> str:
        """Return the host, an IPv6 address without brackets."""
        return place_of_url(self)[0]

    @property
    def port(self) -> int:
        """Return the port, or the default one of the scheme."""
        return place_of_url(self)[1]

    @property
    def place(self) -> str:
        """Return HOST:PORT, as many libraries take it: `127.0.0.1:9092`."""
        host, port = place_of_url(self)
        return f"{HostPort(host, port).bracketed}:{port}"

    @property
    def path(self) -> str:
        """Return the path, such as the name of a database: `/shop`."""
        return urlsplit(self).path


def place_of_url(url: str) -> tuple[str, int]:
    """Return host (in lower case) and port of a target's URL; without a port, the default port of its scheme.

    An unknown scheme counts as http.

    Raises:
        ValueError: no host, or an invalid host or port.
    """
    parts = urlsplit(url)
    host, port = of_url(parts)
    return host, port or PORTS.get(parts.scheme) or 80
