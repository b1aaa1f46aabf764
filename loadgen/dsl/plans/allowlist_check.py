"""Checks whether an allow-list admits a plan.

The controller runs this check before a run, and each worker before its share. Targets
are resolved and judged by address, as at each connection
(`loadgen/clients/net/target_guard.py`). A name that does not resolve here may still resolve
on the agents. If an entry names such a host, the decision is left to the agents. The
plan's size is compared with the strictest limits of all entries that admit its targets.

Plans give iterations/s and allow-lists give requests/s. This check assumes at least one
request per iteration; the cap in the workers enforces the limit on real requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from loadgen.allowlist import AllowList, Entry, as_address, is_own, never
from loadgen.clients.libraries.connects_in_c import list_refused, why_refused
from loadgen.clients.net.settings import Http
from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, highest_sum
from loadgen.profiles.profile import OpenProfile
from loadgen.target_url import GRPC_SCHEMES, place_of_url
from loadgen.units import NS_PER_S, format_count

__all__ = ["Limits", "Stranger", "check", "strangers"]

Resolve = Callable[[str], Collection[str]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for the whole run, from the allow-list. None: no limit."""

    max_requests_per_s: float | None = None
    max_users: int | None = None
    max_duration_ns: int | None = None

    @classmethod
    def of(cls, entries: Collection[Entry]) -> Limits:
        """Return the limits that satisfy all entries: the lowest of each kind."""
        return cls(
            min((e.max_requests_per_s for e in entries if e.max_requests_per_s is not None), default=None),
            min((e.max_users for e in entries if e.max_users is not None), default=None),
            min((ns for e in entries if (ns := e.max_duration_ns) is not None), default=None),
        )

    def stricter(self, other: Limits) -> Limits:
        """Return the limits that satisfy both: the lower one of each kind."""
        rates = [one for one in (self.max_requests_per_s, other.max_requests_per_s) if one is not None]
        users = [one for one in (self.max_users, other.max_users) if one is not None]
        times = [one for one in (self.max_duration_ns, other.max_duration_ns) if one is not None]
        return Limits(min(rates, default=None), min(users, default=None), min(times, default=None))

    def too_fast(self, per_s: float) -> str:
        """Return a sentence if this planned rate of iterations (per second) is above the limit; "" if it is allowed."""
        if self.max_requests_per_s is None or per_s <= self.max_requests_per_s:
            return ""
        return (
            f"{per_s:,.12g} iterations/s are planned, but the allow-list admits only"
            f" {self.max_requests_per_s:,.12g} requests/s"
        )

    def too_many(self, users: float) -> str:
        """Return a sentence if this planned number of users is above the limit; "" if it is allowed."""
        if self.max_users is None or users <= self.max_users:
            return ""
        return f"{users:,.12g} users are planned, but the allow-list admits only {format_count(self.max_users)}"

    def too_long(self, duration_ns: int | None) -> str:
        """Return a sentence if this planned duration is above the limit; "" if it is allowed.

        A duration of None is unknown and passes; the run is stopped when the limit is reached.
        """
        if self.max_duration_ns is None or duration_ns is None or duration_ns <= self.max_duration_ns:
            return ""
        return (
            f"{duration_ns / NS_PER_S:,.12g} s of load are planned, but the allow-list admits only"
            f" {self.max_duration_ns / NS_PER_S:,.12g} s"
        )

    def of_changed(self, spec: PlanSpec) -> str:
        """Return why a plan that was changed during its run exceeds these limits; "" if it is allowed."""
        return "; ".join(_of_size(spec, self))


@dataclass(frozen=True, slots=True)
class Stranger:
    """A target at a public address, with the allow-list entry that admits it."""

    origin: str
    """ "https://shop.example", with the port if the plan gives one."""
    address: str | None
    """The address that the plan's `Http` sets for this name; None if DNS resolves it."""
    entry: Entry


def check(
    spec: PlanSpec, http: Http, allow: AllowList, at: datetime, resolve: Resolve
) -> tuple[Limits, tuple[str, ...]]:
    """Check a plan against an allow-list: return the limits for its run, and a sentence for each reason to refuse it.

    The plan is allowed if there are no sentences.

    Args:
        http: the plan's HTTP settings.
        at: the time at which the list's entries must be valid.
        resolve: a function that returns the addresses of a host name.
    """
    used: list[Entry] = []
    refused = [*_of_targets(spec, http, allow, at, resolve, used)]
    refused += _of_export(spec, allow, at, resolve)
    refused += map(why_refused, list_refused(spec.libraries_in_c, spec.unchecked_libraries))
    limits = Limits.of(used)
    refused += _of_size(spec, limits)
    return limits, tuple(dict.fromkeys(refused))


def strangers(spec: PlanSpec, http: Http, allow: AllowList, at: datetime, resolve: Resolve) -> tuple[Stranger, ...]:
    """Return each target of the plan at a public address that the list admits, once.

    The arguments are those of `check`.
    """
    found: dict[tuple[str, str | None], Stranger] = {}
    for url in (spec.target, *spec.targets.values()):
        if (place := _place(url)) is None:
            continue
        host, port = place
        pinned = http.addresses_for(host, port)
        for address in pinned if pinned is not None else [host] if _is_address(host) else resolve(host):
            entry = allow.entry("" if pinned is not None else host, as_address(address), port, at)
            if entry is not None and not is_own(as_address(address)):
                parts = urlsplit(url)
                origin = f"{GRPC_SCHEMES.get(parts.scheme, parts.scheme)}://{parts.netloc.rpartition('@')[2]}"
                at_address = address if pinned is not None else None
                found.setdefault((origin, at_address), Stranger(origin, at_address, entry))
    return tuple(found.values())


def _of_targets(
    spec: PlanSpec, http: Http, allow: AllowList, at: datetime, resolve: Resolve, used: list[Entry]
) -> Iterator[str]:
    if spec.client == "httpx":
        yield 'client="httpx" opens its own connections, which an allow-list cannot check: leave out client='
    if http.uds is not None:
        yield f"uds: {http.uds}: an allow-list cannot admit UNIX sockets; use a TCP target"
        return
    places = [(what, *place) for what, url in _targets_of(spec) if (place := _place(url)) is not None]
    if http.proxy_address is not None:
        places.append(("proxy", *http.proxy_address))
    for what, host, port in dict.fromkeys(places):
        pinned = http.addresses_for(host, port)
        if http.proxy_address is not None and what != "proxy" and pinned is None and not _is_address(host):
            addresses: Collection[str | None] = [None]  # only the proxy resolves it
        else:
            addresses = pinned if pinned is not None else [host] if _is_address(host) else resolve(host) or [None]
        for address in addresses:
            yield from _of_address(
                f"{what} {host}:{port}", "" if pinned is not None else host, address, port, allow, at, used
            )


def _targets_of(spec: PlanSpec) -> Iterator[tuple[str, str]]:
    """Yield (words, URL) of each target, with its name in the plan if it has one."""
    if spec.target not in spec.targets.values():
        yield "target", spec.target
    for name, url in spec.targets.items():
        yield f'target "{name}"' if name else "target", url


def _of_export(spec: PlanSpec, allow: AllowList, at: datetime, resolve: Resolve) -> Iterator[str]:
    """Yield why spans must not be sent to the receiver of `Trace(export=...)`.

    The limits of its entry are for load, so they do not bound the run.
    """
    place = _place(spec.trace.export.removeprefix("otlp:")) if spec.trace is not None and spec.trace.export else None
    if place is not None:
        host, port = place
        addresses: Collection[str | None] = [host] if _is_address(host) else resolve(host) or [None]
        for address in addresses:
            yield from _of_address(f"trace export {host}:{port}", host, address, port, allow, at, [])


def _of_address(
    what: str, host: str, address: str | None, port: int, allow: AllowList, at: datetime, used: list[Entry]
) -> Iterator[str]:
    where = None if address is None else as_address(address)
    shown = f"{what} at {address}" if address is not None and not what.endswith(f" {address}:{port}") else what
    if where is not None and (why := never(where)):
        yield f"{shown} is never a target ({why})"
    elif (entry := allow.entry(host, where, port, at)) is not None:
        used.append(entry)
    else:
        yield f"{shown} is not allowed: {allow.why_not(host, where, port, at)}"


def _of_size(spec: PlanSpec, limits: Limits) -> Iterator[str]:
    lanes = spec.lanes or (
        LaneSpec(name="", load=spec.load, journeys=spec.journeys, profile=spec.profile, max_users=spec.max_users),
    )
    is_open = [(lane, isinstance(lane.profile, OpenProfile)) for lane in lanes]
    rate = highest_sum((lane.after_ns, lane.profile) for lane, open_ in is_open if open_)
    steered = [lane.steering.upto_per_s for lane in lanes if lane.steering is not None]
    if why := limits.too_fast(max(rate, *steered) if steered else rate):
        yield why
    users = highest_sum((lane.after_ns, lane.profile) for lane, open_ in is_open if not open_)
    if limits.max_users is not None:
        unbounded = [lane for lane, open_ in is_open if open_ and lane.max_users is None]
        if unbounded:
            most = format_count(limits.max_users)
            yield f"the allow-list admits {most} users, but an open load sets none: add max_users="
        users += sum(lane.max_users or 0 for lane, open_ in is_open if open_)
    if why := limits.too_many(users):
        yield why
    if why := limits.too_long(spec.duration_ns):
        yield why


def _place(url: str) -> tuple[str, int] | None:
    try:
        return place_of_url(url)
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        as_address(host)
    except ValueError:
        return False
    return True
