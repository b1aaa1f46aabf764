"""The target guard: decides for each connection whether its address may be connected to.

The check is the last step before the system is asked to connect, and it looks at the address
itself. So no detour (a changed DNS answer, a redirect, an address in another notation) can
bypass the allow-list. `loadgen/allowlist.py` has the rules.
Without an allow-list, only addresses that are never targets are refused: link-local addresses,
the metadata services of clouds, and the addresses of the control plane.

A refusal is an outcome, `not allowed: ` and the rule. A refusal takes 50 ms on purpose: otherwise
the users of a closed load would repeat the request as fast as the CPU allows.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from loadgen.allowlist import Address, AllowList, Entry, as_address, never
from loadgen.errors import RequestFailed

__all__ = ["MOMENT_S", "NOT_ALLOWED", "OPEN", "TargetGuard", "is_not_allowed", "place_of"]

NOT_ALLOWED: Final = "not allowed: "
"""Prefix of the outcome of a connection that a rule refused."""
MOMENT_S: Final = 0.05
"""How long a refusal takes."""
_MOST_PLACES: Final = 10_000
"""Remembered addresses; then all are forgotten, and the lists decide again."""


def is_not_allowed(outcome: str) -> bool:
    """Return True if `outcome` means that the target guard refused the connection."""
    return outcome.removeprefix("proxy ").startswith(NOT_ALLOWED)


def place_of(address: str, port: int) -> tuple[Address, int]:
    """Parse an address and return (address, port) in the form in which `TargetGuard` compares them.

    Raises:
        ValueError: `address` is not an IP address.
    """
    return as_address(address), port


class TargetGuard:
    """Decides which addresses one worker may connect to.

    Args:
        allow: the allow-list; None allows every address that is not excluded for all.
        also: a second allow-list, of the agent itself, which must admit each connection, too.
        own: (address, port) of the control plane; see `place_of`.
        admitted: is called with the entry that admitted a connection.
    """

    def __init__(
        self,
        allow: AllowList | None = None,
        own: Iterable[tuple[Address, int]] = (),
        *,
        also: AllowList | None = None,
        admitted: Callable[[Entry], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.allow = allow
        self.lists = tuple(one for one in (allow, also) if one is not None)
        """All of them must admit a connection."""
        self._own, self._admitted, self._now = frozenset(own), admitted, now
        self._places: set[tuple[Address, int]] = set()
        """Addresses and ports that were admitted."""

    async def check(self, host: str, address: str, port: int) -> None:
        """Raise if the plan may not connect to this address; return nothing if it may.

        Args:
            host: the requested host name; empty if the plan sets the address and not DNS.
        Raises:
            RequestFailed: with the outcome `not allowed: ...`, which contains the reason.
        """
        if (refusal := self.refusal(host, address, port)) is not None:
            await self._refuse(*refusal)

    def refusal(self, host: str, address: str, port: int) -> tuple[str, str] | None:
        """Return why the plan may not connect to this address, as (rule, sentence); None if it may.

        For callers that cannot await. The arguments are those of `check`.
        """
        try:
            where = as_address(address)
        except ValueError:
            return "no address", f"{address} is not an IP address"
        if why := self._never(where, port):
            return why, f"{_named(host, address)}:{port} is never a target ({why})"
        refusal = self._refusal_of_lists(host, where, port, _named(host, address))
        if refusal is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places.add((where, port))
        return refusal

    def has_admitted(self, address: str, port: int) -> bool:
        """Return True if a connection to this address was admitted before, by whatever name."""
        try:
            return place_of(address, port) in self._places
        except ValueError:
            return False

    def _refusal_of_lists(self, host: str, where: Address | None, port: int, shown: str) -> tuple[str, str] | None:
        entries = []
        for one in self.lists:
            if (entry := one.entry(host, where, port, self._now())) is None:
                why = one.why_not(host, where, port, self._now())
                return _rule(why), f"{shown}:{port}: {why}"
            entries.append(entry)
        for entry in entries:
            self._admitted(entry)
        return None

    async def check_behind(self, host: str, port: int) -> None:
        """Raise if the plan may not reach this host through a proxy. The proxy looks the address up, so the name is
        checked.

        Raises:
            RequestFailed: as `check`.
        """
        try:
            as_address(host)
        except ValueError:
            refusal = self._refusal_of_lists(host, None, port, host)
        else:
            refusal = self.refusal("", host, port)
        if refusal is not None:
            await self._refuse(*refusal)

    async def check_socket(self, path: str) -> None:
        """Raise if the plan may not connect to this UNIX socket. An allow-list admits no UNIX socket, because any
        program may listen there.

        Raises:
            RequestFailed: as `check`.
        """
        if (refusal := self.socket_refusal(path)) is not None:
            await self._refuse(*refusal)

    def socket_refusal(self, path: str) -> tuple[str, str] | None:
        """Return why the plan may not connect to this UNIX socket, as `refusal`; None if it may."""
        if self.lists:
            return "unix socket", f"{path}: UNIX sockets are not allowed with an allow-list"
        return None

    def _never(self, where: Address, port: int) -> str:
        return "control plane" if (where, port) in self._own else never(where)

    async def _refuse(self, rule: str, detail: str) -> None:
        await sleep(MOMENT_S)
        raise RequestFailed(NOT_ALLOWED + rule, detail)

    def __repr__(self) -> str:
        entries = ", ".join(f"{len(one.allow)} entries" for one in self.lists) or "no list"
        return f"<Fence {entries}, {len(self._own)} places of the control plane>"


OPEN: Final = TargetGuard()
"""The target guard of runs without an allow-list."""


def _rule(why: str) -> str:
    """Return the short name of the rule that refused a target (`expired`, `port`, `address` or `no entry`), for tables.
    why: the full reason.
    """
    if "expired" in why:
        return "expired"
    if "is for ports" in why:
        return "port"
    return "address" if "entry is for" in why else "no entry"


def _named(host: str, address: str) -> str:
    shown = f"[{address}]" if ":" in address else address
    return f"{host} at {shown}" if host and host != address else shown
