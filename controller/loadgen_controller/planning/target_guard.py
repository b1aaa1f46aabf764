"""May this target be put under load?

Loopback and private addresses may. Whoever aims at a public host says so, by
name: a typing error must not become an attack on a stranger. Link-local
addresses never may: there live the metadata services of clouds.

What counts is where the load goes. So the addresses that `--resolve` or
`Http(resolve=...)` give a host are checked as addresses (to have named the host
is not enough: they are not its own), and so is the proxy, beside the target that
it is asked for. Behind a UNIX socket there may be anything, so the target's name
has to be one that may be loaded there, too.

This is the person's own seat belt, not a fence: scenario code can open sockets
of its own, and the agents' hosts need rules of their own.

Once agents on other hosts take part, it is not the person who decides any more but
an allow-list (`loadgen/allowlist.py`), here and at the agents.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.allowlist import AllowList, read
from loadgen.clients import Http
from loadgen.clients.net.consent_file import PATH, why_unproved
from loadgen.dsl.plans.allowlist_check import Limits, check, strangers
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.engine.health.process_health import addresses_of, own_addresses
from loadgen.errors import UsageError
from loadgen.hostport import host_port, of_url
from loadgen.signed.signatures import SECRET_NAME, Signer
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.planning.options import parse_endpoint

__all__ = [
    "Resolve",
    "check_allowed",
    "check_proofs",
    "check_target",
    "check_ways",
    "is_near",
    "places_of",
    "read_permits",
    "resolve",
]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Collection[str]]
"""Host -> its addresses; empty where it has none."""
Prove = Callable[[str, str, str | None], str]
"""Origin, word, address -> why it is not shown there; empty where it is."""


def resolve(host: str) -> Collection[str]:
    """By the resolver of this machine."""
    return addresses_of(host)


def check_target(
    url: str, named: Collection[str] = (), *, http: Http | None = None, resolve: Resolve = resolve
) -> None:
    """
    Args:
        named: hosts that the person says may be loaded (`--i-may-load`).
        http: of the plan. A host to which it gives addresses is `check_ways`' to judge.

    Raises:
        UsageError: the target is public and not named, unknown and not named, or link-local.
    """
    try:
        parts = urlsplit(url)
        host, port = of_url(parts)
    except ValueError:
        return  # no URL: the plan's own fault says so
    _check_host("target", host, port or (443 if parts.scheme == "https" else 80), named, http, resolve)


def check_ways(http: Http, named: Collection[str] = (), *, resolve: Resolve = resolve) -> None:
    """May the plan's proxy, and the addresses that it gives hosts, be loaded?

    Raises:
        UsageError: one of them is public and not named, unknown and not named, or link-local.
    """
    known = _lower(named)
    for place, given in http.resolve.items():
        addresses = [_address(one) for one in ([given] if isinstance(given, str) else given)]
        _refuse_link_local(f"resolve: {place}", addresses)
        public = [str(a) for a in addresses if not _is_own(a) and str(a) not in known]
        if public:
            raise UsageError(
                f"resolve: {place} is sent to {', '.join(public[:3])}, which is public",
                hint=f"if you may load it, name the address: --i-may-load {public[0]}",
            )
    if http.proxy_address is not None:
        host, port = http.proxy_address
        _check_host("proxy", host, port, named, http, resolve)


def _check_host(what: str, host: str, port: int, named: Collection[str], http: Http | None, resolve: Resolve) -> None:
    if http is not None and http.addresses_for(host.lower(), port) is not None:
        return
    addresses = [_address(text) for text in resolve(host)]
    _refuse_link_local(f"{what} {host}", addresses)
    if host.lower() in _lower(named):
        return
    if not addresses:
        raise UsageError(
            f"{what} {host} cannot be resolved, so nobody can tell whose it is",
            hint=f"check the name; if it is right and you may load it: --i-may-load {host}",
        )
    public = sorted(str(a) for a in addresses if not _is_own(a))
    if public:
        raise UsageError(
            f"{what} {host} is public ({', '.join(public[:3])}): a load test of somebody else's host is an attack",
            hint=f"if you may load it: --i-may-load {host}",
        )


def _refuse_link_local(what: str, addresses: Collection[_Address]) -> None:
    if any(_plain(a).is_link_local for a in addresses):
        raise UsageError(f"{what} has a link-local address, which is never a target")


def _lower(names: Collection[str]) -> set[str]:
    return {name.lower() for name in names}


def _address(text: str) -> _Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _plain(address: _Address) -> _Address:
    """An IPv4 address in IPv6 clothing is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: _Address) -> bool:
    plain = _plain(address)
    return (plain.is_private or plain.is_loopback) and not plain.is_unspecified


# -- runs whose agents are on other hosts -------------------------------------------------------------


def is_near(listen: str) -> bool:
    """Only this machine can reach an address to listen at."""
    host, _ = parse_endpoint(listen)
    addresses = [_address(one) for one in resolve(host)]
    return bool(addresses) and all(_plain(one).is_loopback for one in addresses)


def places_of(address: str) -> tuple[str, ...]:
    """HOST:PORT by which what listens at `address` can be reached: of "any address" those of this machine."""
    host, port = host_port(address)
    try:
        hosts = own_addresses() if _address(host).is_unspecified else [host]
    except ValueError:
        hosts = list(resolve(host))
    return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)


def read_permits(
    wrongs: CollectedErrors, listen: str | None, keys: Path | None, allow: Path | None, sign_with: Path | None
) -> tuple[AllowList | None, Signer | None]:
    """The list and the signing key; a list is demanded once agents on other hosts may take part.

    Args:
        listen: where agents come to; None: they are on this machine.
        keys: the controller's folder, in which a signing key may lie.
    """
    listed, signer = None, None
    if allow is not None:
        listed = wrongs.catch(lambda: read(allow))
    elif listen is not None and not (wrongs.found or is_near(listen)):
        wrongs.add(
            f"--listen {listen}: agents on other hosts may take part, so an allow-list has to say what may be loaded",
            "--allow FILE, see docs/guard.md; or listen at 127.0.0.1",
        )
    usual = None if keys is None else keys / SECRET_NAME
    path = sign_with or (usual if usual is not None and usual.exists() else None)
    if path is not None:
        signer = wrongs.catch(lambda: Signer.read(path))
    return listed, signer


def check_allowed(spec: PlanSpec, http: Http, allow: AllowList, *, resolve: Resolve = resolve) -> Limits:
    """What the list admits to the plan, where it admits it.

    Raises:
        UsageError: with all that it does not admit.
    """
    limits, refused = check(spec, http, allow, datetime.now(UTC), resolve)
    if refused:
        raise UsageError(
            "the allow-list does not admit this run: " + "; ".join(refused),
            hint="change the plan, or ask the owner of the list for an entry, see docs/guard.md",
        )
    return limits


def check_proofs(
    spec: PlanSpec, http: Http, allow: AllowList, *, resolve: Resolve = resolve, prove: Prove = why_unproved
) -> None:
    """Do the public hosts among the targets agree? Blocking: each is asked, for up to 5 s.

    Raises:
        UsageError: with all that do not show the word of their entry, or whose entry has none.
    """
    refused: list[str] = []
    for one in strangers(spec, http, allow, datetime.now(UTC), resolve):
        if one.entry.proof is None:
            refused.append(f"{one.origin} is public, and its entry (owner: {one.entry.owner}) has no proof")
        elif why := prove(one.origin, one.entry.proof, one.address):
            refused.append(f"{one.origin} is public, and does not show the proof of its entry: {why}")
    if refused:
        raise UsageError(
            "a public host has to agree to be loaded: " + "; ".join(refused),
            hint=f"its owner puts the word that the entry has as proof= into {PATH} there, see docs/guard.md",
        )
