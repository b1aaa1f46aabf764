"""How requests reach the network: a plan's `Http`, what is wrong with it, and what a report says of it.

    Plan(..., http=Http(proxy="http://proxy.example:3128", no_proxy=["login.example"], dns_ttl="5s"))

It is a value: it keeps what it was given, opens nothing and raises nothing. What is
wrong is collected in `wrongs`; the derived values (`dns_ttl_ns`, `addresses_for` ...)
are for an `Http` without faults. Nothing here comes from the environment: `HTTP_PROXY`
and its like are never read, for each agent would have its own.

**A private key never travels**: not in the bundle, not in a manifest, a log or a report.
A certificate beside the scenario does, as `ca` does. So a key is an absolute path, of
a file that is there at each agent, or `secret("client-key")`, whose value is the PEM
text itself or such a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from loadgen.units import format_duration, parse_duration, parse_size

__all__ = ["Http", "Named", "as_address", "parse_resolve"]

MOST_RETRIES = 10
_LONGEST_UDS = 107
"""Bytes; the kernel's sockaddr_un has 108 with a zero at the end."""
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


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
        return folder / first if isinstance(first, str | Path) and _is_within(folder, first) else None

    # -- what is wrong with it ------------------------------------------------------------------------

    def wrongs(self, folder: Path | None = None) -> Iterator[tuple[str, str]]:
        """Everything that is wrong, with what to write. folder: of the scenario, in which files are looked for."""
        for check in (
            self._versions_wrong,
            self._proxy_wrong,
            self._tls_wrong,
            self._addresses_wrong,
            self._uds_wrong,
            self._limits_wrong,
        ):
            yield from check()
        yield from self._cert_wrong(folder or Path())

    def _versions_wrong(self) -> Iterator[tuple[str, str]]:
        http2: object = self.http2
        if not isinstance(http2, bool) and http2 != "prior":
            yield f"http2: {http2!r}", 'True, False or "prior"'
        elif http2 and find_spec("h2") is None:
            yield "http2: the h2 library is not installed", "pip install 'loadgen[http2]', also at each agent"
        elif http2 == "prior" and self.proxy is not None:
            yield 'http2="prior": a proxy is spoken to in HTTP/1.1', "write http2=True: https:// is tunnelled"
        for name in ("verify", "phases"):
            if not isinstance(getattr(self, name), bool):
                yield f"{name}: {getattr(self, name)!r}", "True or False"

    def _proxy_wrong(self) -> Iterator[tuple[str, str]]:
        for one in _listed(self.no_proxy):
            if not isinstance(one, str) or not _is_host_or_network(one):
                yield (
                    f"no_proxy: {one!r} is no host",
                    'a list of names and networks, as in ["login.example", ".shop.example", "10.0.0.0/8"]',
                )
        if self.proxy_auth is not None and not _is_secret(self.proxy_auth):
            yield (
                "proxy_auth: it has to be a secret, so that it stands in no file",
                'write proxy_auth=secret("proxy-login"), with the value user:password',
            )
        if self.proxy is None:
            for name in ("proxy_auth", "no_proxy"):
                if getattr(self, name):
                    yield f"{name}: there is no proxy", 'write proxy="http://proxy.example:3128"'
            return
        message, hint = _proxy_url_wrong(self.proxy)
        if message:
            yield f"proxy: {message}", hint

    def _tls_wrong(self) -> Iterator[tuple[str, str]]:
        if self.sni is not None and (not isinstance(self.sni, str) or not _is_name(self.sni)):
            yield f"sni: {self.sni!r} is no name of a server", 'write sni="shop.example"'

    def _addresses_wrong(self) -> Iterator[tuple[str, str]]:
        if self.ip not in (None, "4", "6"):
            yield f"ip: {self.ip!r}", 'write ip="4" or ip="6"'
        resolve: object = self.resolve
        if not isinstance(resolve, Mapping):
            yield f"resolve: {resolve!r} is no mapping", _RESOLVE_HINT
        else:
            for place, addresses in resolve.items():
                yield from self._resolve_wrong(place, addresses)
        given = _listed(self.source)
        for one in given:
            if as_address(one) is None and not _is_network(one):
                yield f"source: {one!r} is no address", 'write source=["10.0.0.7", "10.0.0.8"], or ["10.0.0.0/24"]'
        families = {_family(one) for one in given if as_address(one) is not None or _is_network(one)}
        if self.ip in ("4", "6") and families and self.ip not in families:
            yield f'source: no address of IPv{self.ip}, and ip="{self.ip}" allows no others', "of the same family"

    def _resolve_wrong(self, place: object, addresses: object) -> Iterator[tuple[str, str]]:
        if not isinstance(place, str) or not _is_place(place):
            yield f"resolve: {place!r} is no host", _RESOLVE_HINT
            return
        found = _listed(addresses)
        if not found:
            yield f"resolve: {place}: no address", _RESOLVE_HINT
        for one in found:
            if as_address(one) is None:
                yield f"resolve: {place}: {one!r} is no address", "addresses and no names, as in " + _RESOLVE_HINT
        if self.ip in ("4", "6") and found and all(as_address(one) and _family(one) != self.ip for one in found):
            yield f'resolve: {place}: no address of IPv{self.ip}, and ip="{self.ip}" allows no others', _RESOLVE_HINT

    def _uds_wrong(self) -> Iterator[tuple[str, str]]:
        uds: object = self.uds
        if uds is None:
            return
        if not isinstance(uds, str | Path) or not _is_path(uds) or not Path(uds).is_absolute():
            yield (
                f"uds: {str(uds)!r} is no absolute path",
                'of a socket on each agent\'s machine: uds="/run/shop.sock"',
            )
        elif len(str(uds).encode()) > _LONGEST_UDS:
            yield f"uds: the path has more than {_LONGEST_UDS} bytes", "the kernel takes no longer ones"
        for name in ("proxy", "resolve", "source", "ip"):
            if getattr(self, name):
                yield f"uds: all connections go to the socket, so {name} has no meaning", f"leave out uds or {name}"

    def _limits_wrong(self) -> Iterator[tuple[str, str]]:
        if not _parses(parse_duration, self.dns_ttl, str | int | float):
            yield f"dns_ttl: {self.dns_ttl!r} is no duration", 'write dns_ttl="30s"; 0 asks for each connection'
        if not _parses(parse_size, self.max_body, str | int) or not parse_size(self.max_body):
            yield f"max_body: {self.max_body!r} is no size", 'write max_body="64MB"'
        retries: object = self.retries
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
            yield f"retries: {retries!r}", f"a whole number, 0 to {MOST_RETRIES}"

    def _cert_wrong(self, folder: Path) -> Iterator[tuple[str, str]]:
        if self.cert is None:
            return
        places: tuple[object, ...] = self.cert if isinstance(self.cert, tuple) else (self.cert,)
        if not 1 <= len(places) <= 2 or not all(isinstance(one, str | Path) or _is_secret(one) for one in places):
            yield "cert: it is a certificate and its key", _CERT_HINT
            return
        if any(isinstance(one, str | Path) and not _is_path(one) for one in places):
            yield "cert: a path of a file is empty, or none", _CERT_HINT
            return
        own, key = places[0], places[-1]
        is_here = len(places) == 2 and isinstance(own, str | Path) and _is_within(folder, own)
        if is_here and not (folder / str(own)).is_file():
            yield f"cert: no file {own}", f"it is looked for in {folder}"
        if isinstance(key, str | Path) and _is_within(folder, key):
            yield f"cert: the private key in {key} does not travel to the agents", _CERT_HINT

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


_RESOLVE_HINT = 'resolve={"shop.example": "10.0.0.1", "api.example:443": ["10.0.0.2", "10.0.0.3"]}'
_CERT_HINT = 'write cert=("client.pem", secret("client-key")), or the absolute path of a key that each agent has'


def parse_resolve(text: str) -> tuple[str, tuple[str, ...]]:
    """HOST[:PORT]:ADDRESS[,ADDRESS], as curl has it: "shop.example:443:10.0.0.1,[fd00::1]".

    Raises:
        ValueError: it is not of that form.
    """
    found = re.fullmatch(r"([^\s:,\[\]]+)(?::(\d{1,5}))?:(\S+)", text)
    addresses = tuple(one.strip("[]") for one in found[3].split(",")) if found else ()
    if found is None or not _is_place(found[1]) or any(as_address(one) is None for one in addresses):
        raise ValueError(f'"{text}" says no addresses of a host; write shop.example:443:10.0.0.1')
    if found[2] is not None and not 0 < int(found[2]) < 65536:
        raise ValueError(f'"{text}": {found[2]} is no port')
    return (found[1] if found[2] is None else f"{found[1]}:{int(found[2])}").lower(), addresses


def as_address(text: object) -> str | None:
    """An IP address as it is written usually; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _family(address: object) -> str:
    return "6" if ":" in str(address) else "4"


def _listed(given: object) -> list[object]:
    """What was given as a list, a tuple or a single text."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _several(addresses: str | Sequence[str]) -> tuple[str, ...]:
    return (addresses,) if isinstance(addresses, str) else tuple(addresses)


def _is_secret(value: object) -> bool:
    return callable(getattr(value, "reveal", None)) and isinstance(getattr(value, "name", None), str)


def _is_name(text: str) -> bool:
    return _HOST.fullmatch(text) is not None and len(text) <= 253


def _is_place(text: str) -> bool:
    """HOST or HOST:PORT; a host may be an address."""
    host, colon, port = text.rpartition(":")
    if as_address(text) is not None or not colon:
        return _is_name(text) or as_address(text) is not None
    return _is_name(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _is_host_or_network(text: str) -> bool:
    if "/" in text:
        return _is_network(text)
    return as_address(text) is not None or _is_name(text.removeprefix("*").removeprefix("."))


def _is_network(text: object) -> bool:
    if not isinstance(text, str) or "/" not in text:
        return False
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _proxy_url_wrong(proxy: object) -> tuple[str, str]:
    hint = 'write proxy="http://proxy.example:3128"'
    if not isinstance(proxy, str):
        return f"{proxy!r} is no URL", hint
    try:
        url = urlsplit(proxy)
        port = url.port
    except ValueError as error:
        return f"{proxy!r} is no URL: {error}", hint
    if url.username is not None or url.password is not None:
        return "it holds credentials, which would travel and be kept", 'write proxy_auth=secret("proxy-login")'
    if url.scheme in ("https", "socks4", "socks5", "socks5h"):
        return f"{url.scheme} proxies are not spoken to", "an http:// proxy tunnels https:// too"
    if url.scheme != "http":
        return f"{proxy!r} is no URL of http", hint
    if not url.hostname or port == 0 or not (_is_name(url.hostname) or as_address(url.hostname)):
        return f"{proxy!r} is no URL: no host and port", hint
    if url.path not in ("", "/") or url.query or url.fragment:
        return f"{proxy!r} has a path; a proxy has none", hint
    return "", ""


def _is_path(path: str | Path) -> bool:
    text = str(path)
    return bool(text) and "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_within(folder: Path, path: str | Path) -> bool:
    """A file of the scenario's folder: one that would travel."""
    return (folder.resolve() / path).resolve().is_relative_to(folder.resolve()) or not Path(path).is_absolute()


def _parses(parser: Any, value: object, kinds: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    try:
        parser(value)
    except (ValueError, OverflowError):
        return False
    return True


def _json(value: object, folder: Path | None) -> Any:
    if _is_secret(value):
        return f'secret("{value.name}")'  # type: ignore[attr-defined]
    if isinstance(value, Path):
        return str(value.relative_to(folder)) if folder is not None and value.is_relative_to(folder) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, folder) for item in value]
    return value
