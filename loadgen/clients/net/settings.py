"""How requests reach the network: a plan's `Http`, what is wrong with it, and what a report says of it.

    Plan(..., http=Http(proxy="http://proxy.example:3128", no_proxy=["login.example"], dns_ttl="5s"))

It is a value: it keeps what it was given, opens nothing and raises nothing. What is
wrong is told by `wrongs` (`settings_check.py`); the derived values (`dns_ttl_ns`, `addresses_for` ...)
are for an `Http` without faults. Nothing here comes from the environment: `HTTP_PROXY`
and its like are never read, for each agent would have its own.

**A private key never travels**: not in the bundle, not in a manifest, a log or a report.
A certificate beside the scenario does, as `ca` does. So a key is an absolute path, of
a file that is there at each agent, or `secret("client-key")`, whose value is the PEM
text itself or such a path.
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
    """A `secret("name")`: known by name, revealed where it is used."""

    @property
    def name(self) -> str: ...

    def reveal(self) -> str: ...


Place = str | Path | Named
"""Of a certificate or a key: a file, or a secret that holds it or names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """How the requests of a plan reach the network. The defaults are a browser's without a proxy."""

    http2: bool | Literal["prior"] = False
    """True: HTTP/2 where the target chooses it in the TLS handshake (ALPN), else HTTP/1.1. "prior": HTTP/2 at once,
    on http:// too."""
    proxy: str | None = None
    """ "http://proxy.example:3128". http:// is forwarded by it, https:// is tunnelled through it (CONNECT)."""
    proxy_auth: Named | None = None
    """secret("proxy-login"), whose value is "user:password"."""
    no_proxy: Sequence[str] = ()
    """Hosts that are reached without it: "login.example"; ".shop.example" with all below it; "10.0.0.0/8"."""
    cert: Place | tuple[Place, Place] | None = None
    """The client's certificate (PEM, with its chain) and its private key: ("client.pem", secret("client-key")); see the
    module. A single one is of both together, and therefore a secret or an absolute path."""
    verify: bool = True
    """False: any certificate will do. The report says so."""
    sni: str | None = None
    """The server name of the TLS handshake, which the certificate has to bear; None: the URL's host."""
    resolve: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """{"shop.example": "10.0.0.1"}, or "shop.example:443", or several addresses: instead of what DNS says."""
    dns_ttl: str | float = "30s"
    """How long a worker keeps what DNS said. 0: each connection asks."""
    ip: Literal["4", "6"] | None = None
    """Only addresses of this family."""
    uds: str | Path | None = None
    """All connections go to this UNIX socket of the agent's machine."""
    source: Sequence[str] = ()
    """Addresses of the agent's machine that connections are made from, in turn: each has ports of its own. A network,
    "10.0.0.0/16", is all that the machine has in it."""
    retries: int = 0
    """How often a request that failed is sent again."""
    max_body: str | int = "64MB"
    """An answer with a larger body is the outcome `body too large`."""
    phases: bool = False
    """Blocked, DNS, connect, TLS, send, wait and receive of each request are rows of their own."""

    # -- derived, of one without faults -------------------------------------------------------------

    @property
    def dns_ttl_ns(self) -> int:
        return parse_duration(self.dns_ttl)

    @property
    def max_body_bytes(self) -> int:
        return parse_size(self.max_body)

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """Host and port of the proxy."""
        if self.proxy is None:
            return None
        url = urlsplit(self.proxy)
        return url.hostname or "", url.port or 80

    def addresses_for(self, host: str, port: int) -> tuple[str, ...] | None:
        """What `resolve` says of a host (in lower case); None: ask DNS."""
        given = self.resolve.get(f"{host}:{port}") or self.resolve.get(host)
        return None if given is None else _several(given)

    def settled(self, folder: Path) -> Http:
        """The same in one form: names in lower case, lists as tuples, its certificate from the scenario's folder on."""
        cert = self.cert
        if isinstance(cert, tuple) and isinstance(cert[0], str | Path):
            cert = (folder / cert[0], cert[1])
        resolve = {place.lower(): _several(addresses) for place, addresses in self.resolve.items()}
        return replace(self, cert=cert, resolve=resolve, no_proxy=_several(self.no_proxy), source=_several(self.source))

    def with_resolve(self, more: Mapping[str, Sequence[str]]) -> Http:
        """The same with further entries, which beat its own."""
        return replace(self, resolve={**self.resolve, **more})

    def certificate_in(self, folder: Path) -> Path | None:
        """The certificate that travels with the scenario of this folder; None where none does."""
        first = self.cert[0] if isinstance(self.cert, tuple) else None
        return folder / first if isinstance(first, str | Path) and is_within(folder, first) else None

    def wrongs(self, folder: Path | None = None) -> Iterator[tuple[str, str]]:
        """Everything that is wrong, with what to write. folder: of the scenario, in which files are looked for."""
        return wrongs_of(self, folder or Path())

    # -- in words --------------------------------------------------------------------------------------

    def as_json(self, folder: Path | None = None) -> dict[str, Any]:
        """What differs from the defaults, as JSON: secrets by name, files of `folder` relative to it."""
        usual = Http()
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: _json(value, folder) for name, value in given.items() if value != getattr(usual, name) and value != ()
        }

    def notes(self) -> Iterator[str]:
        """What a reader of the figures has to know."""
        if self.http2:
            where = "" if self.http2 == "prior" else " where the target chose it"
            yield f"requests went over HTTP/2{where}: what a user asks for at once shares a connection"
        if not self.verify:
            yield (
                "certificates were not verified (verify=False): nothing here says that it was the target that answered"
            )
        if self.proxy is not None:
            but = f", except for {', '.join(self.no_proxy)}" if self.no_proxy else ""
            yield f"requests went through the proxy {self.proxy}{but}: its time is in theirs"
        if self.uds is not None:
            yield f"requests went to the UNIX socket {self.uds}: no network is in their times"
        for place, addresses in self.resolve.items():
            yield f"{place} was {' and '.join(_several(addresses))}, whatever DNS says"
        if self.ip is not None:
            yield f"only addresses of IPv{self.ip} were used"
        if self.sni is not None:
            yield f"the TLS handshake asked for {self.sni}"
        if self.source:
            yield f"connections were made from {', '.join(self.source)} in turn"
        if self.cert is not None:
            yield "requests bore a client certificate"
        if not self.dns_ttl_ns:
            yield "each connection asked DNS (dns_ttl=0)"
        elif self.dns_ttl_ns != Http().dns_ttl_ns:
            yield f"answers of DNS were kept for {format_duration(self.dns_ttl_ns)}"


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
