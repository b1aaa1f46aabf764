"""Where connections come from: the real network, or canned replies (`canned.py`).

A `Network` has one method, so that tests feed bytes and trials need no target.
Errors of the operating system and of TLS become outcomes here, once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from errno import EADDRNOTAVAIL
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, gaierror, socket
from typing import Protocol

import httpx

from loadgen.clients.http1 import Connection
from loadgen.clients.outcomes import DNS, NO_PORT, OWN_FAULTS, UNREACHABLE, connect_failure
from loadgen.errors import RequestFailed, UsageError

__all__ = ["Network", "TcpNetwork", "tls_context"]


class Network(Protocol):
    """Opens a connection and lets `factory` make its protocol."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
    ) -> tuple[asyncio.BaseTransport, Connection]:
        """Raises RequestFailed: `dns`, `refused`, `tls` ... Time-outs are the caller's."""
        ...


class TcpNetwork:
    """The network of this machine, on the running loop (uvloop or asyncio)."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
    ) -> tuple[asyncio.BaseTransport, Connection]:
        loop = asyncio.get_running_loop()
        failures: list[RequestFailed] = []
        # Address by address, by ourselves: the loops fold several errors into one text without an errno.
        for address in await _addresses(loop, host, port):
            try:
                return await loop.create_connection(
                    factory, address, port, ssl=tls, server_hostname=server_hostname if tls else None
                )
            except OSError as error:
                failure = connect_failure(error, f"{host}:{port}")
                if failure.outcome == NO_PORT and not _has_source(address, port):
                    failure = RequestFailed(UNREACHABLE, failure.detail)
                failure.__cause__ = error
                failures.append(failure)
        raise _telling(failures)


def _telling(failures: list[RequestFailed]) -> RequestFailed:
    """Of the failures at each address of a host, the one that says why: ours, else the last of one that is there."""

    def rank(failure: RequestFailed) -> int:
        return 2 if failure.outcome in OWN_FAULTS else int(failure.outcome != UNREACHABLE)

    return max(reversed(failures), key=rank)


def _has_source(address: str, port: int) -> bool:
    """False where this machine has no address to reach it from, as `::1` without IPv6.

    The system says EADDRNOTAVAIL to that too, and not only when its ports are used up. To "connect" a datagram
    socket sends nothing and needs an address only.
    """
    try:
        with socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError as error:
        return error.errno != EADDRNOTAVAIL
    return True


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    if _is_address(host):
        return [host]
    try:
        found = await loop.getaddrinfo(host, port, type=SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and not isinstance(error, gaierror):
            failure = connect_failure(error, host)  # the system's own: no descriptors left for asking
            if failure.outcome in OWN_FAULTS:
                raise failure from error
        raise RequestFailed(DNS, f"{host}: {getattr(error, 'strerror', None) or error}") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not addresses:
        raise RequestFailed(DNS, f"{host}: no address")
    return addresses


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def tls_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Verification on, always; `ca_file` (PEM) is trusted beside the usual roots. Costs about 20 ms: make one.

    Raises:
        UsageError: the file is not there or holds no certificate.
    """
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"cannot read certificates from {ca_file}: {error}",
                hint="a CA file is PEM: -----BEGIN CERTIFICATE-----",
            ) from error
    return context
