"""DNS for one worker: looks up addresses of hosts, caches them, and uses several addresses in turn.

An answer is kept for `Http.dns_ttl`, because the system's resolver does not return a time to live. A failure is kept
for at most a second. While a lookup is under way, all connections to that name wait for its answer, so a thousand
users that start together cause one lookup. Each connection begins with the next address of its host, so a
target with several addresses gets load on all of them. Workers begin with different ones.

An address that could not be connected to is tried last for ten seconds, and then in turn again. A connection attempt
that a user's time-out cancelled also counts as failed, if it took at least a second: an address that silently drops
packets gives no other sign.

Lookups use `getaddrinfo`, so `/etc/hosts` and `nsswitch.conf` apply; they block only the loop's threads.
`Http.resolve` takes precedence, and `Http.ip` leaves out the other address family.

A cached name costs a connection 0.2 µs, with several addresses 0.4 µs (processor time, the least of 7 rounds of
20,000, on a machine with other work).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from random import Random
from socket import AF_INET, AF_INET6, AF_UNSPEC, SOCK_STREAM, AddressFamily, gaierror
from time import monotonic
from typing import Final

from loadgen.clients.net.settings import Http
from loadgen.clients.protocol.outcomes import DNS, OWN_FAULTS, connect_failure
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["FAILED_FOR_S", "SHUNNED_FOR_S", "Lookup", "Resolver", "family_of", "look_up"]

FAILED_FOR_S: Final = 1.0
"""How long a failed lookup is kept, unless answers are kept for a shorter time."""
SHUNNED_FOR_S: Final = 10.0
"""How long an address that failed is tried last."""
MOST_NAMES: Final = 10_000
"""Size limit of the cache, which is then emptied; for journeys with a different host for each user."""

Lookup = Callable[[str, AddressFamily], Awaitable[Sequence[str]]]
"""(host, family) -> addresses. Raises OSError, as getaddrinfo does, and UnicodeError for an invalid name."""
_FAMILIES: Final = {None: AF_UNSPEC, "4": AF_INET, "6": AF_INET6}


async def look_up(host: str, family: AddressFamily) -> Sequence[str]:
    """Resolve a host name with the system's resolver, and return its addresses in the resolver's order. family: AF_INET
    or AF_INET6, or AF_UNSPEC for both.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, family=family, type=SOCK_STREAM)
    return [str(info[4][0]) for info in found]


def family_of(address: str) -> AddressFamily:
    return AF_INET6 if ":" in address else AF_INET


@dataclass(slots=True)
class _Answer:
    """addresses: empty after a failure. turn: counts connections, to choose the first address of the next one."""

    addresses: tuple[str, ...]
    failure: RequestFailed | None
    until_s: float
    turn: int


class Resolver:
    """Looks up and caches addresses; see the module. Not shared between event loops.

    asked: the number of lookups so far.
    """

    def __init__(
        self,
        http: Http = Http(),  # noqa: B008  # frozen
        *,
        lookup: Lookup = look_up,
        clock: Callable[[], float] = monotonic,
        random: Random | None = None,
    ) -> None:
        self._http, self._lookup, self._clock = http, lookup, clock
        self._random = random or Random()  # noqa: S311  # unseeded, so that each worker begins with another address
        self._ttl_s = http.dns_ttl_ns / NS_PER_S
        self._family = _FAMILIES[http.ip]
        self._answers: dict[str, _Answer] = {}
        self._given: dict[tuple[str, int], _Answer] = {}
        self._asking: dict[str, asyncio.Task[_Answer]] = {}
        self._shunned: dict[tuple[str, int], float] = {}
        """(address, port) -> the end of the time in which it is tried last."""
        self.asked = 0

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, at least one, in the order in which to try to connect. Successive calls begin
        with different addresses; those that failed recently come last.

        Raises:
            RequestFailed: `dns`; or a fault of the generator, if no file descriptor is left for the lookup.
        """
        answer = self._from_settings(host, port)
        if answer is None:
            if _is_address(host):
                return (self._of_family(host),)
            answer = self._answers.get(host)
            if answer is None or answer.until_s <= self._clock():
                answer = await self._ask(host)
        if answer.failure is not None:
            raise RequestFailed(answer.failure.outcome, answer.failure.detail) from answer.failure.__cause__
        found = answer.addresses
        if len(found) == 1:
            return found
        begin = answer.turn % len(found)
        answer.turn += 1
        return self._shunned_last(found[begin:] + found[:begin], port)

    def knows(self, host: str, port: int) -> bool:
        """Return True if `addresses` can answer without a DNS lookup: from the settings, from the cache, or because
        `host` is an address.
        """
        if self._from_settings(host, port) is not None or _is_address(host):
            return True
        answer = self._answers.get(host)
        return answer is not None and answer.until_s > self._clock()

    def is_overridden(self, host: str, port: int) -> bool:
        """Return True if the addresses of this host come from the setting `Http.resolve` and not from DNS."""
        return self._from_settings(host, port) is not None

    def failed(self, address: str, port: int) -> None:
        """Record that a connection to `address` failed, so that `addresses` returns it last for a while."""
        self._shunned[address, port] = self._clock() + SHUNNED_FOR_S

    def _shunned_last(self, addresses: tuple[str, ...], port: int) -> Sequence[str]:
        if not self._shunned:
            return addresses
        now_s = self._clock()
        self._shunned = {place: until_s for place, until_s in self._shunned.items() if until_s > now_s}
        return sorted(addresses, key=lambda address: (address, port) in self._shunned)

    def _from_settings(self, host: str, port: int) -> _Answer | None:
        if not self._http.resolve:
            return None
        answer = self._given.get((host, port))
        if answer is None:
            given = self._http.addresses_for(host, port)
            if given is None:
                return None
            answer = self._given[host, port] = self._answer(host, given)
        return answer

    def _of_family(self, address: str) -> str:
        if self._family not in (AF_UNSPEC, family_of(address)):
            version = self._http.ip
            raise RequestFailed(
                DNS, f'{address} is not an IPv{version} address, but the plan has ip="{version}": change one of them'
            )
        return address

    async def _ask(self, host: str) -> _Answer:
        """Return the result of looking `host` up. Callers share a lookup that is under way; a cancelled caller does not
        stop it.
        """
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = asyncio.create_task(self._look_up(host), name=f"DNS {host}")
            asking.add_done_callback(lambda _: self._asking.pop(host, None))
        return await asyncio.shield(asking)

    async def _look_up(self, host: str) -> _Answer:
        """Look `host` up in DNS, cache the result and return it. A failure is part of the result and is not raised,
        because the caller may have been cancelled.
        """
        self.asked += 1
        try:
            answer = self._answer(host, await self._lookup(host, self._family))
        except (OSError, UnicodeError) as error:
            answer = self._failed(_failure(host, error))
        if len(self._answers) >= MOST_NAMES:
            self._answers.clear()
        self._answers[host] = answer
        return answer

    def _answer(self, host: str, found: Sequence[str]) -> _Answer:
        addresses = tuple(dict.fromkeys(one for one in found if self._family in (AF_UNSPEC, family_of(one))))
        if not addresses:
            family = "" if self._http.ip is None else f"IPv{self._http.ip} "
            return self._failed(RequestFailed(DNS, f"{host}: no {family}address; check the name in DNS"))
        known = self._answers.get(host)
        turn = known.turn if known is not None and known.addresses else self._random.randrange(len(addresses))
        return _Answer(addresses, None, self._clock() + self._ttl_s, turn)

    def _failed(self, failure: RequestFailed) -> _Answer:
        # Faults of the generator are not cached: they end as soon as a file descriptor is free.
        for_s = 0.0 if failure.outcome in OWN_FAULTS else min(FAILED_FOR_S, self._ttl_s)
        return _Answer((), failure, self._clock() + for_s, 0)

    def __repr__(self) -> str:
        return f"<Resolver {len(self._answers)} names, {self.asked} asked, {len(self._shunned)} addresses shunned>"


def _failure(host: str, error: OSError | UnicodeError) -> RequestFailed:
    failure = RequestFailed(DNS, f"{host}: {getattr(error, 'strerror', None) or error}")
    if isinstance(error, OSError) and not isinstance(error, gaierror):
        own = connect_failure(error, host)  # an error of the machine: for example, no file descriptors left
        failure = own if own.outcome in OWN_FAULTS else failure
    failure.__cause__ = error
    return failure


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
