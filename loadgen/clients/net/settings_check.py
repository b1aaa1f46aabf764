"""Checks a plan's `Http`: returns all errors at once, each with what to write instead. Opens nothing."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loadgen.clients.net.host_parsing import (
    as_address,
    family_digit,
    is_host_or_network,
    is_name,
    is_network,
    is_place,
)
from loadgen.extras import how_to_install
from loadgen.hostport import HostPort, of_url
from loadgen.units import parse_duration, parse_size

if TYPE_CHECKING:
    from loadgen.clients.net.settings import Http

__all__ = ["MOST_RETRIES", "TLS_VERSIONS", "is_secret", "is_within", "wrongs_of"]

MOST_RETRIES = 10
TLS_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_LONGEST_UDS = 107
"""Size limit of a socket path in bytes: the kernel's sockaddr_un has 108, with a zero at the end."""
_RESOLVE_HINT = 'resolve={"shop.example": "10.0.0.1", "api.example:443": ["10.0.0.2", "10.0.0.3"]}'
_CERT_HINT = 'write cert=("client.pem", secret("client-key")), or the absolute path of a key that each agent has'


def wrongs_of(http: Http, folder: Path) -> Iterator[tuple[str, str]]:
    """Check HTTP settings, and yield each error as (message, what to write instead). folder: the scenario's folder, in
    which files are searched.
    """
    for check in (
        _versions_wrong,
        _http3_wrong,
        _proxy_wrong,
        _tls_wrong,
        _addresses_wrong,
        _uds_wrong,
        _limits_wrong,
    ):
        yield from check(http)
    yield from _cert_wrong(http, folder)


def _versions_wrong(http: Http) -> Iterator[tuple[str, str]]:
    http2: object = http.http2
    if not isinstance(http2, bool) and http2 != "prior":
        yield f"http2: invalid value {http2!r}", 'write True, False or "prior"'
    elif http2 == "prior" and http.proxy is not None:
        yield 'http2="prior": a proxy needs HTTP/1.1', "write http2=True: https:// is tunnelled"
    cache: object = http.cache
    if cache not in (None, "user"):
        yield f"cache: invalid value {cache!r}", 'write cache="user", or leave it out'
    clock: object = http.clock
    if clock not in ("kernel", "loop"):
        yield f"clock: invalid value {clock!r}", 'write clock="kernel" or clock="loop"'
    for name in ("verify", "preconnect", "phases", "early_data"):
        if not isinstance(getattr(http, name), bool):
            yield f"{name}: invalid value {getattr(http, name)!r}", "write True or False"


def _http3_wrong(http: Http) -> Iterator[tuple[str, str]]:
    http3: object = http.http3
    if not isinstance(http3, bool) and http3 != "only":
        yield f"http3: invalid value {http3!r}", 'write True, False or "only"'
        return
    if not http3:
        if http.early_data is True:
            yield "early_data: needs HTTP/3", 'write http3=True or http3="only", or leave out early_data'
        return
    if find_spec("aioquic") is None:
        hint = f"on this machine and on each agent, {how_to_install('http3')}"
        yield "http3: needs aioquic, which is not installed", hint
    if http.proxy is not None:
        yield "http3: cannot be combined with proxy, because HTTP/3 does not use TCP", "leave out http3 or proxy"
    if http.uds is not None:
        yield "http3: cannot be combined with uds, because HTTP/3 needs UDP", "leave out http3 or uds"
    if http.tls_max in TLS_VERSIONS and http.tls_max != "1.3":
        yield f'http3: needs TLS 1.3, but tls_max="{http.tls_max}"', "leave out http3 or tls_max"
    if http3 == "only":
        for name in ("http2", "ciphers"):
            if getattr(http, name):
                yield f'{name}: has no effect with http3="only"', f"write http3=True, or leave out {name}"


def _proxy_wrong(http: Http) -> Iterator[tuple[str, str]]:
    for one in _listed(http.no_proxy):
        if not isinstance(one, str) or not is_host_or_network(one):
            yield (
                f"no_proxy: {one!r} is not a host or network",
                'write a list such as no_proxy=["login.example", ".shop.example", "10.0.0.0/8"]',
            )
    if http.proxy_auth is not None and not is_secret(http.proxy_auth):
        yield (
            "proxy_auth: must be a secret, so that no file contains it",
            'write proxy_auth=secret("proxy-login"), with the value user:password',
        )
    if http.proxy is None:
        for name in ("proxy_auth", "no_proxy"):
            if getattr(http, name):
                yield f"{name}: needs a proxy", f'write proxy="http://proxy.example:3128", or leave out {name}'
        return
    message, hint = _proxy_url_wrong(http.proxy)
    if message:
        yield f"proxy: {message}", hint


def _tls_wrong(http: Http) -> Iterator[tuple[str, str]]:
    if http.sni is not None and (not isinstance(http.sni, str) or not is_name(http.sni)):
        yield f"sni: invalid server name {http.sni!r}", 'write sni="shop.example"'
    low, high = http.tls_min, http.tls_max
    are_versions = True
    for name, version in (("tls_min", low), ("tls_max", high)):
        if version is not None and (not isinstance(version, str) or version not in TLS_VERSIONS):
            are_versions = False
            yield f"{name}: invalid version {version!r}", f'write {name}="1.2"; versions are {", ".join(TLS_VERSIONS)}'
    if are_versions and low is not None and high is not None and low > high:
        yield f'tls_min: "{low}" is above tls_max, "{high}"', 'write tls_min="1.2", tls_max="1.3"'
    if http.ciphers is None:
        return
    if low == "1.3":
        yield 'ciphers: TLS 1.3 has ciphers of its own, but tls_min="1.3"', "leave out ciphers or tls_min"
    if not _are_ciphers(http.ciphers):
        yield f"ciphers: OpenSSL has no cipher {http.ciphers!r}", 'write a list of OpenSSL: ciphers="ECDHE+AESGCM"'


def _are_ciphers(ciphers: object) -> bool:
    """Return True if OpenSSL accepts a list of ciphers."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(ciphers)  # type: ignore[arg-type]
    except (ssl.SSLError, TypeError, ValueError):
        return False
    return True


def _addresses_wrong(http: Http) -> Iterator[tuple[str, str]]:
    if http.ip not in (None, "4", "6"):
        yield f"ip: invalid value {http.ip!r}", 'write ip="4" or ip="6"'
    resolve: object = http.resolve
    if not isinstance(resolve, Mapping):
        yield f"resolve: must be a dict of hosts and addresses, got {resolve!r}", _RESOLVE_HINT
    else:
        for place, addresses in resolve.items():
            yield from _resolve_wrong(http, place, addresses)
    given = _listed(http.source)
    for one in given:
        if as_address(one) is None and not is_network(one):
            yield f"source: invalid address {one!r}", 'write source=["10.0.0.7", "10.0.0.8"], or ["10.0.0.0/24"]'
    families = {family_digit(one) for one in given if as_address(one) is not None or is_network(one)}
    if http.ip in ("4", "6") and families and http.ip not in families:
        yield f'source: no IPv{http.ip} address, but ip="{http.ip}"', f"add an IPv{http.ip} address, or leave out ip"


def _resolve_wrong(http: Http, place: object, addresses: object) -> Iterator[tuple[str, str]]:
    if not isinstance(place, str) or not is_place(place):
        yield f"resolve: invalid host {place!r}", _RESOLVE_HINT
        return
    found = _listed(addresses)
    if not found:
        yield f"resolve: {place}: the list of addresses is empty", _RESOLVE_HINT
    for one in found:
        if as_address(one) is None:
            yield f"resolve: {place}: invalid address {one!r}", "write addresses, not names, as in " + _RESOLVE_HINT
    if http.ip in ("4", "6") and found and all(as_address(one) and family_digit(one) != http.ip for one in found):
        yield f'resolve: {place}: no IPv{http.ip} address, but ip="{http.ip}"', _RESOLVE_HINT


def _uds_wrong(http: Http) -> Iterator[tuple[str, str]]:
    uds: object = http.uds
    if uds is None:
        return
    if not isinstance(uds, str | Path) or not _is_path(uds) or not Path(uds).is_absolute():
        yield (
            f"uds: {str(uds)!r} is not an absolute path",
            'write the path of a socket on each agent: uds="/run/shop.sock"',
        )
    elif len(str(uds).encode()) > _LONGEST_UDS:
        yield f"uds: the path has more than {_LONGEST_UDS} bytes", "use a shorter path: the kernel allows no longer one"
    for name in ("proxy", "resolve", "source", "ip"):
        if getattr(http, name):
            yield f"uds: cannot be combined with {name}, as all connections use the socket", f"leave out uds or {name}"


def _limits_wrong(http: Http) -> Iterator[tuple[str, str]]:
    if not _parses(parse_duration, http.dns_ttl, str | int | float):
        yield f"dns_ttl: invalid duration {http.dns_ttl!r}", 'write dns_ttl="30s"; 0 means a lookup for each connection'
    if not _parses(parse_size, http.max_body, str | int) or not parse_size(http.max_body):
        yield f"max_body: invalid size {http.max_body!r}", 'write max_body="64MB"'
    retries: object = http.retries
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
        yield f"retries: invalid value {retries!r}", f"write an integer from 0 to {MOST_RETRIES}"


def _cert_wrong(http: Http, folder: Path) -> Iterator[tuple[str, str]]:
    if http.cert is None:
        return
    places: tuple[object, ...] = http.cert if isinstance(http.cert, tuple) else (http.cert,)
    if not 1 <= len(places) <= 2 or not all(isinstance(one, str | Path) or is_secret(one) for one in places):
        yield "cert: must be a certificate and its key", _CERT_HINT
        return
    if any(isinstance(one, str | Path) and not _is_path(one) for one in places):
        yield "cert: the path of a file is empty or invalid", _CERT_HINT
        return
    own, key = places[0], places[-1]
    is_here = len(places) == 2 and isinstance(own, str | Path) and is_within(folder, own)
    if is_here and not (folder / str(own)).is_file():
        yield f"cert: file not found: {own}", f"put it into {folder}, or correct the path"
    if isinstance(key, str | Path) and is_within(folder, key):
        yield f"cert: the private key in {key} would not reach the agents", _CERT_HINT


def _listed(given: object) -> list[object]:
    """Return a list or tuple as a list, and any other value as a list with this one value."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def is_secret(value: object) -> bool:
    """Return True if `value` is a secret made by `secret()`: an object with a name and a method `reveal`."""
    return callable(getattr(value, "reveal", None)) and isinstance(getattr(value, "name", None), str)


def _proxy_url_wrong(proxy: object) -> tuple[str, str]:
    hint = 'write proxy="http://proxy.example:3128"'
    if not isinstance(proxy, str):
        return f"{proxy!r} is not a URL", hint
    try:
        url = urlsplit(proxy)
        host, port = of_url(url) if url.netloc else HostPort("", None)
    except ValueError as error:
        return f"{proxy!r} is not a URL: {error}", hint
    if url.username is not None or url.password is not None:
        return "the URL contains credentials, which files would then contain", 'write proxy_auth=secret("proxy-login")'
    if url.scheme in ("https", "socks4", "socks5", "socks5h"):
        return f"{url.scheme} proxies are not supported", "use an http:// proxy, which tunnels https:// too"
    if url.scheme != "http":
        return f"{proxy!r} is not an http:// URL", hint
    if not host or port == 0 or not (is_name(host) or as_address(host)):
        return f"{proxy!r} has an invalid host or port", hint
    if url.path not in ("", "/") or url.query or url.fragment:
        return f"{proxy!r} must not have a path", hint
    return "", ""


def _is_path(path: str | Path) -> bool:
    text = str(path)
    return bool(text) and "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_within(folder: Path, path: str | Path) -> bool:
    """Return True if `path` is in the scenario's folder, so that the file is sent to agents with the scenario. Relative
    paths always count as inside.
    """
    return (folder.resolve() / path).resolve().is_relative_to(folder.resolve()) or not Path(path).is_absolute()


def _parses(parser: Any, value: object, kinds: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    try:
        parser(value)
    except (ValueError, OverflowError):
        return False
    return True
