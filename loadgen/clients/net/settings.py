"""How requests reach the network: a plan's `Http`, its errors, and its description in reports.

    Plan(..., http=Http(proxy="http://proxy.example:3128", no_proxy=["login.example"], dns_ttl="5s"))

`Http` is a value: it stores its arguments, opens nothing and raises nothing. `wrongs`
(`settings_check.py`) returns all its errors. The derived values (`dns_ttl_ns`, `addresses_for`
...) need an `Http` without errors. Nothing is read from environment variables such as
`HTTP_PROXY`, because they may differ between agents.

**A private key never travels**: not in the bundle, a manifest, a log or a report.
A certificate beside the scenario does travel, as `ca` does. So a key is an absolute path
of a file that exists on each agent, or `secret("client-key")`, whose value is the PEM text
itself or such a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from loadgen.clients.net.settings_check import is_secret, is_within, wrongs_of
from loadgen.units import format_duration, parse_duration, parse_size

__all__ = ["Http", "Named", "Place"]


class Named(Protocol):
    """A `secret("name")`: identified by its name; its value is revealed only where it is used."""

    @property
    def name(self) -> str: ...

    def reveal(self) -> str: ...


Place = str | Path | Named
"""Where a certificate or a key is: a file, or a secret whose value is the PEM text or the path of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """How the requests of a plan reach the network. The defaults are those of a browser without a proxy."""

    http2: bool | Literal["prior"] = False
    """True: HTTP/2 if the target chooses it in the TLS handshake (ALPN), else HTTP/1.1. "prior": HTTP/2 without
    negotiation, also on http://."""
    http3: bool | Literal["only"] = False
    """True: HTTP/3 for https:// targets whose answers offer it (Alt-Svc), else as `http2` says. "only": HTTP/3 for all
    requests. Needs the extra `http3`."""
    early_data: bool = False
    """HTTP/3: send idempotent requests of a new connection with the handshake (0-RTT), if the target gave a ticket for
    that on an earlier connection."""
    proxy: str | None = None
    """ "http://proxy.example:3128". The proxy forwards http:// and tunnels https:// (CONNECT)."""
    proxy_auth: Named | None = None
    """secret("proxy-login"), whose value is "user:password"."""
    no_proxy: Sequence[str] = ()
    """Hosts that bypass the proxy: "login.example"; ".shop.example" with its subdomains; "10.0.0.0/8"."""
    cert: Place | tuple[Place, Place] | None = None
    """The client's certificate (PEM, with its chain) and its private key: ("client.pem", secret("client-key")); see the
    module. A single value contains both, so it has to be a secret or an absolute path."""
    verify: bool = True
    """False: accept any certificate. The report mentions it."""
    sni: str | None = None
    """The server name of the TLS handshake, for which the certificate has to be valid; None: the URL's host."""
    tls_min: str | None = None
    """The lowest version of TLS to offer: "1.0", "1.1", "1.2" or "1.3"; None: that of OpenSSL's configuration."""
    tls_max: str | None = None
    """The highest version of TLS to offer."""
    ciphers: str | None = None
    """The ciphers to offer up to TLS 1.2, as OpenSSL's list: "ECDHE+AESGCM". TLS 1.3 has ciphers of its own, which
    cannot be chosen."""
    resolve: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """Addresses that replace DNS: {"shop.example": "10.0.0.1"}, or for "shop.example:443", or a list of addresses."""
    dns_ttl: str | float = "30s"
    """How long a worker keeps an answer of DNS. 0: each connection does a lookup."""
    ip: Literal["4", "6"] | None = None
    """Use only addresses of this IP version."""
    uds: str | Path | None = None
    """All connections go to this UNIX socket of the agent's machine."""
    source: Sequence[str] = ()
    """Addresses of the agent's machine to connect from, in turn: each has its own set of ports. A network such as
    "10.0.0.0/16" means all addresses of the machine in it."""
    retries: int = 0
    """The limit on repeats of a failed request."""
    max_body: str | int = "64MB"
    """Size limit of a response body; a larger one has the outcome `body too large`."""
    preconnect: bool = True
    """Open the connections of open loads shortly before arrivals need them, as many as a target needs that answers in
    3 ms. False: an arrival that finds no free user opens one, and its response time includes that."""
    cache: Literal["user"] | None = None
    """"user": each user keeps answers as a browser does, and sends conditional requests (`clients/caching.py`)."""
    clock: Literal["kernel", "loop"] = "loop"
    """The clock that times answers: "loop" is the time at which the event loop read them, "kernel" is the time at which
    the kernel received them (Linux, HTTP/1.1 over TCP)."""
    phases: bool = False
    """Measure blocked, DNS, connect, TLS, send, wait and receive of each request as rows of their own."""

    # -- derived values, for settings without errors -----------------------------------------------

    @property
    def dns_ttl_ns(self) -> int:
        return parse_duration(self.dns_ttl)

    @property
    def max_body_bytes(self) -> int:
        return parse_size(self.max_body)

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """Return (host, port) of the proxy; None without a proxy."""
        if self.proxy is None:
            return None
        url = urlsplit(self.proxy)
        return url.hostname or "", url.port or 80

    def addresses_for(self, host: str, port: int) -> tuple[str, ...] | None:
        """Return the addresses that the setting `resolve` has for a host (in lower case); None if it has none and DNS
        decides.
        """
        given = self.resolve.get(f"{host}:{port}") or self.resolve.get(host)
        return None if given is None else _several(given)

    def settled(self, folder: Path) -> Http:
        """Return the same settings in a normal form: names in lower case, lists as tuples, and the certificate's path
        based on `folder`, the scenario's folder.
        """
        cert = self.cert
        if isinstance(cert, tuple) and isinstance(cert[0], str | Path):
            cert = (folder / cert[0], cert[1])
        resolve = {place.lower(): _several(addresses) for place, addresses in self.resolve.items()}
        return replace(self, cert=cert, resolve=resolve, no_proxy=_several(self.no_proxy), source=_several(self.source))

    def with_resolve(self, more: Mapping[str, Sequence[str]]) -> Http:
        """Return the same settings with more entries of `resolve`, which replace existing ones for the same host."""
        return replace(self, resolve={**self.resolve, **more})

    def certificate_in(self, folder: Path) -> Path | None:
        """Return the certificate file that travels with the scenario in `folder`; None without one."""
        first = self.cert[0] if isinstance(self.cert, tuple) else None
        return folder / first if isinstance(first, str | Path) and is_within(folder, first) else None

    def wrongs(self, folder: Path | None = None) -> Iterator[tuple[str, str]]:
        """Yield each error of these settings as (message, what to write instead). folder: the scenario's folder, in
        which files are searched.
        """
        return wrongs_of(self, folder or Path())

    # -- in words --------------------------------------------------------------------------------------

    def as_json(self, folder: Path | None = None) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as a JSON object. Secrets are replaced by their names;
        paths of files in `folder` are relative to it.
        """
        usual = Http()
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: _json(value, folder) for name, value in given.items() if value != getattr(usual, name) and value != ()
        }

    def notes(self) -> Iterator[str]:
        """Yield texts about these settings that readers of the measurements should know."""
        if self.http2:
            where = "" if self.http2 == "prior" else " if the target chose it"
            yield f"requests used HTTP/2{where}: a user's concurrent requests share a connection"
        if self.http3:
            where = "" if self.http3 == "only" else " if the target offered it (Alt-Svc)"
            yield f"requests used HTTP/3{where}: a user's concurrent requests share a connection"
        if self.early_data:
            yield "the first requests of a connection were sent with its handshake (early_data=True) where possible"
        if not self.verify:
            yield ("certificates were not verified (verify=False), so the answers may not have come from the target")
        if self.proxy is not None:
            but = f", except for {', '.join(self.no_proxy)}" if self.no_proxy else ""
            yield f"requests went through the proxy {self.proxy}{but}: their times include the proxy's"
        if self.uds is not None:
            yield f"requests went to the UNIX socket {self.uds}: their times include no network"
        for place, addresses in self.resolve.items():
            yield f"resolve: {place} was reached at {' and '.join(_several(addresses))}, without DNS"
        if self.ip is not None:
            yield f"only IPv{self.ip} addresses were used"
        if self.sni is not None:
            yield f"the TLS handshake used the server name {self.sni}"
        if self.tls_min is not None or self.tls_max is not None:
            low = f" from {self.tls_min}" if self.tls_min is not None else ""
            high = f" up to {self.tls_max}" if self.tls_max is not None else ""
            yield f"the TLS handshake offered versions{low}{high}"
        if self.ciphers is not None:
            yield f"the TLS handshake offered the ciphers {self.ciphers}"
        if self.source:
            yield f"connections were made from {', '.join(self.source)} in turn"
        if self.cert is not None:
            yield "connections presented a client certificate"
        if self.cache is not None:
            yield (
                'each user had an HTTP cache (cache="user"): requests that it answered were not sent and have no row; '
                "replies to a 304 count as ok"
            )
        if not self.preconnect:
            yield "connections were opened on demand, so first requests on them include connect time (preconnect=False)"
        if not self.dns_ttl_ns:
            yield "each connection did a DNS lookup (dns_ttl=0)"
        elif self.dns_ttl_ns != Http().dns_ttl_ns:
            yield f"DNS answers were kept for {format_duration(self.dns_ttl_ns)}"


def _json(value: object, folder: Path | None) -> Any:
    if is_secret(value):
        return f'secret("{value.name}")'  # type: ignore[attr-defined]
    if isinstance(value, Path):
        return str(value.relative_to(folder)) if folder is not None and value.is_relative_to(folder) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, folder) for item in value]
    return value


def _several(addresses: str | Sequence[str]) -> tuple[str, ...]:
    return (addresses,) if isinstance(addresses, str) else tuple(addresses)
