"""Checks whether a target may be put under load.

Loopback and private addresses may. A public host must be named by the user, so that a typing error does not become an
attack on a stranger. Link-local addresses are always rejected, because cloud metadata services have such addresses.

The check is about where the load really goes. Addresses that `--resolve` or `Http(resolve=...)` give to a host are
checked as addresses: naming the host is not enough, since the addresses may belong to somebody else. The proxy is
checked in addition to the target. Anything can be behind a UNIX socket, so there the name of the target is checked.

This protects users from their own mistakes; it is no barrier. Scenario code can open sockets of its own, and the hosts
of agents need firewall rules of their own.

When agents on other hosts take part, an allow-list (`loadgen/allowlist.py`) decides instead of the user, both here and
at the agents.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

from loadgen.allowlist import AllowList, read
from loadgen.clients.net.consent_file import PATH, why_unproved
from loadgen.clients.net.settings import Http
from loadgen.dsl.plans.allowlist_check import Limits, check, strangers
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.engine.health.process_health import addresses_of, own_addresses
from loadgen.errors import UsageError
from loadgen.hostport import host_port
from loadgen.signed.signatures import SECRET_NAME, Signer
from loadgen.target_url import place_of_url
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.option_parsing import parse_endpoint

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
"""Maps a host to its addresses; empty if the host is unknown."""
Prove = Callable[[str, str, str | None], str]
"""Maps origin, proof and address to the reason why the consent file does not show the proof; empty if it does."""


def resolve(host: str) -> Collection[str]:
    """Return the addresses of a host, by the resolver of this machine."""
    return addresses_of(host)


def check_target(
    url: str, named: Collection[str] = (), *, http: Http | None = None, resolve: Resolve = resolve
) -> None:
    """Check that the target of a URL may be put under load.

    Args:
        named: hosts that the user names as allowed (`--i-may-load`).
        http: the plan's `Http`. A host with addresses in it is skipped here, and checked by `check_ways`.

    Raises:
        UsageError: the target is link-local; or it is public or cannot be resolved, and is not named.
    """
    try:
        host, port = place_of_url(url)
    except ValueError:
        return  # an invalid URL is reported by the check of the plan
    _check_host("target", host, port, named, http, resolve)


def check_ways(http: Http, named: Collection[str] = (), *, resolve: Resolve = resolve) -> None:
    """Check that the plan's proxy, and the addresses in its `resolve`, may be put under load.

    Raises:
        UsageError: one of them is link-local; or it is public or cannot be resolved, and is not named.
    """
    known = _lower(named)
    for place, given in http.resolve.items():
        addresses = [_address(one) for one in ([given] if isinstance(given, str) else given)]
        _refuse_link_local(f"resolve: {place}", addresses)
        public = [str(a) for a in addresses if not _is_own(a) and str(a) not in known]
        if public:
            raise UsageError(
                f"resolve: {place} is sent to {', '.join(public[:3])}, which is public",
                hint=f"if you may put it under load, name the address: --i-may-load {public[0]}",
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
            f"{what} {host} cannot be resolved, so its owner is unknown",
            hint=f"check the name; if it is right and you may put it under load, add --i-may-load {host}",
        )
    public = sorted(str(a) for a in addresses if not _is_own(a))
    if public:
        raise UsageError(
            f"{what} {host} is public ({', '.join(public[:3])}): a load test of somebody else's host is an attack",
            hint=f"if you may put it under load, add --i-may-load {host}",
        )


def _refuse_link_local(what: str, addresses: Collection[_Address]) -> None:
    if any(_plain(a).is_link_local for a in addresses):
        raise UsageError(
            f"{what} has a link-local address, which is never allowed: cloud metadata services have such addresses",
            hint="use another target",
        )


def _lower(names: Collection[str]) -> set[str]:
    return {name.lower() for name in names}


def _address(text: str) -> _Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address (::ffff:10.0.0.1); other addresses unchanged."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: _Address) -> bool:
    plain = _plain(address)
    return (plain.is_private or plain.is_loopback) and not plain.is_unspecified


# -- runs whose agents are on other hosts -------------------------------------------------------------


def is_near(listen: str) -> bool:
    """Return whether only this machine can reach a listening address, because it is a loopback address."""
    host, _ = parse_endpoint(listen)
    addresses = [_address(one) for one in resolve(host)]
    return bool(addresses) and all(_plain(one).is_loopback for one in addresses)


def places_of(address: str) -> tuple[str, ...]:
    """Return the addresses (HOST:PORT) at which a listening address can be reached.

    For the unspecified address (0.0.0.0), these are all addresses of this machine.
    """
    host, port = host_port(address)
    try:
        hosts = own_addresses() if _address(host).is_unspecified else [host]
    except ValueError:
        hosts = list(resolve(host))
    return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)


def read_permits(
    errors: CollectedErrors, listen: str | None, keys: Path | None, allow: Path | None, sign_with: Path | None
) -> tuple[AllowList | None, Signer | None]:
    """Return the allow-list and the signing key, each None if it is not used. Failures are added to `errors`.

    An allow-list is required when agents on other hosts can connect.

    Args:
        listen: the address at which agents connect; None: agents are on this machine.
        keys: the controller's folder of keys, which may contain a signing key.
        allow, sign_with: files that the options name.
    """
    listed, signer = None, None
    if allow is not None:
        listed = errors.catch(lambda: read(allow))
    elif listen is not None and not (errors.found or is_near(listen)):
        errors.add(
            f"--listen {listen}: agents on other hosts can connect, so an allow-list of targets is required",
            "add --allow FILE, see docs/guard.md; or listen on 127.0.0.1",
        )
    usual = None if keys is None else keys / SECRET_NAME
    path = sign_with or (usual if usual is not None and usual.exists() else None)
    if path is not None:
        signer = errors.catch(lambda: Signer.read(path))
    return listed, signer


def check_allowed(spec: PlanSpec, http: Http, allow: AllowList, *, resolve: Resolve = resolve) -> Limits:
    """Check a plan against an allow-list, and return the limits that apply to the run.

    Raises:
        UsageError: the list does not admit the plan; the error names everything that it does not admit.
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
    """Check that the public hosts among the targets have consented, by the consent file that each of them serves.

    Blocking: one request per host, for up to 5 s each.

    Raises:
        UsageError: a host does not serve the proof of its entry, or its entry has none; the error names all such hosts.
    """
    refused: list[str] = []
    for one in strangers(spec, http, allow, datetime.now(UTC), resolve):
        if one.entry.proof is None:
            refused.append(
                f"{one.origin} is public, and its entry in the allow-list (owner: {one.entry.owner}) has no proof"
            )
        elif why := prove(one.origin, one.entry.proof, one.address):
            refused.append(f"{one.origin} is public, and does not serve the proof of its entry: {why}")
    if refused:
        raise UsageError(
            "a public host must consent to be put under load: " + "; ".join(refused),
            hint=f"its owner must serve the proof= of the entry at {PATH}, see docs/guard.md",
        )
