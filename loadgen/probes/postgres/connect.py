"""Opens the connection of a probe: resolves the host, checks its address, and sets what a probe must not change."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from loadgen.allowlist import as_address, never
from loadgen.outside_text import one_line
from loadgen.probes.dsn import dsn_values
from loadgen.probes.postgres.connection import Connection, Denied, Lost
from loadgen.probes.reader import Note, NotRead, Permit

__all__ = ["APPLICATION", "answered", "connect"]

APPLICATION: Final = "loadgen-probe"
_ADDRESSES_MOST: Final = 4


async def connect(
    dsn: str,
    password: str,
    *,
    port: int,
    limit_s: float,
    permit: Permit | None = None,
    fixed: Mapping[str, str] | None = None,
) -> Connection:
    """Connect to the one host of a checked connection string, within `limit_s`.

    port: the default. permit: decides about the address. fixed: keys of libpq that win over those of the string.

    Raises:
        Lost: the connection failed, or the address is not permitted. The text has no secret.
        UsageError: psycopg is not installed.
    """
    parts = {"port": str(port), "connect_timeout": str(max(2, round(limit_s))), **dsn_values(dsn)}
    parts |= {"application_name": APPLICATION, "client_encoding": "UTF8", **(fixed or {})}
    if password:
        parts["password"] = password
    host = parts.get("hostaddr") or parts.get("host", "")
    if "," in host:
        raise Lost("the dsn has several hosts, but a probe reads one server")
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    if host and not host.startswith(("/", "@")):
        found = await _addresses(host, int(parts["port"] or port), limit_s, permit)
        # libpq tries one after the other, such as ::1 and 127.0.0.1 of localhost; the name is for the certificate.
        parts["hostaddr"] = ",".join(found)
        parts["host"] = ",".join([parts.get("host") or host] * len(found))
    return await Connection.open(parts, max(0.1, limit_s - (loop.time() - started_s)))


@asynccontextmanager
async def answered(
    limit_s: float, drop: Callable[[], None], *, shown: Callable[[str], str] | None = None, notes: Sequence[Note] = ()
) -> AsyncIterator[None]:
    """Limit a read to `limit_s`, and raise `NotRead` if it fails.

    drop: closes the connection after a failure. shown: makes the reason from the server's message; None: its first 300
    characters. notes: what was read before the failure; the error has it.
    """
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        drop()
        raise NotRead(f"no complete answer within {limit_s:g} s", tuple(notes)) from None
    except (Lost, Denied) as error:
        drop()
        raise NotRead(one_line(str(error), 300) if shown is None else shown(str(error)), tuple(notes)) from None


async def _addresses(host: str, port: int, limit_s: float, permit: Permit | None) -> list[str]:
    """Return the addresses of a host, all of which may be read. libpq would block the loop while it waits for DNS."""
    shown = one_line(host, 200)
    try:
        async with asyncio.timeout(limit_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise Lost(f"the address of {shown} was not found within {limit_s:.1f} s") from None
    except OSError as error:
        raise Lost(f"the address of {shown} was not found: {error.strerror or error}") from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))[:_ADDRESSES_MOST]
    for text in addresses:
        address = as_address(text)
        why = f"it has a {kind} address" if (kind := never(address)) else ""
        if not why and permit is not None:
            why = permit(host, address, port)
        if why:
            raise Lost(f"{shown} is not permitted: {why}")
    return addresses
