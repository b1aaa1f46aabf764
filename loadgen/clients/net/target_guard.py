"""May this connection be made? Asked each time, of the address that is about to be connected to.

So nothing that is found out on the way (DNS that answers otherwise the second time, a
redirect, an address in another form) leads past the allow-list: it is the last thing
that happens before the system is asked to connect. `loadgen/allowlist.py` has the rules.

Without a list only what is never a target is refused: link-local addresses, the metadata
services of clouds, and the controller's own place.

A refusal is an outcome, `not allowed: ` and the rule. It costs a moment on purpose: users of a
closed load would else ask again as fast as the CPU lets them.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from loadgen.allowlist import Address, AllowList, Entry, as_address, never
from loadgen.errors import RequestFailed

__all__ = ["NOT_ALLOWED", "OPEN", "Fence", "is_not_allowed", "place_of"]

NOT_ALLOWED: Final = "not allowed: "
"""Begins the outcome of a connection that was refused by a rule."""
MOMENT_S: Final = 0.05


def is_not_allowed(outcome: str) -> bool:
    return outcome.removeprefix("proxy ").startswith(NOT_ALLOWED)


def place_of(address: str, port: int) -> tuple[Address, int]:
    """As `Fence` compares it.

    Raises:
        ValueError: no address.
    """
    return as_address(address), port


class Fence:
    """What one worker may connect to.

    Args:
        allow: None: everything that is not never a target.
        own: (address, port) of the control plane; see `place_of`.
        admitted: is told which entry admitted a connection.
    """

    def __init__(
        self,
        allow: AllowList | None = None,
        own: Iterable[tuple[Address, int]] = (),
        *,
        admitted: Callable[[Entry], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.allow = allow
        self._own, self._admitted, self._now = frozenset(own), admitted, now

    async def check(self, host: str, address: str, port: int) -> None:
        """
        Args:
            host: the name that was asked for; empty where its address is not DNS's doing but the plan's.

        Raises:
            RequestFailed: `not allowed: ...`, which says why.
        """
        try:
            where = as_address(address)
        except ValueError:
            return await self._refuse("no address", f"{address} is no address")
        if why := self._never(where, port):
            return await self._refuse(why, f"{_named(host, address)}:{port} is never a target ({why})")
        if self.allow is None:
            return None
        if (entry := self.allow.entry(host, where, port, self._now())) is not None:
            return self._admitted(entry)
        why = self.allow.why_not(host, where, port, self._now())
        return await self._refuse(_rule(why), f"{_named(host, address)}:{port}: {why}")

    async def check_behind(self, host: str, port: int) -> None:
        """Whom a proxy is asked for: its address is not ours to find, so by its name.

        Raises:
            RequestFailed: as `check`.
        """
        where: Address | None = None
        try:
            where = as_address(host)
        except ValueError:
            if self.allow is None:
                return None
        if where is not None:
            return await self.check("", host, port)
        assert self.allow is not None
        if (entry := self.allow.entry(host, None, port, self._now())) is not None:
            return self._admitted(entry)
        why = self.allow.why_not(host, None, port, self._now())
        return await self._refuse(_rule(why), f"{host}:{port}: {why}")

    async def check_socket(self, path: str) -> None:
        """Behind a UNIX socket there may be anything, so no list admits it.

        Raises:
            RequestFailed: as `check`.
        """
        if self.allow is not None:
            await self._refuse("unix socket", f"{path}: an allow-list admits no UNIX sockets")

    def _never(self, where: Address, port: int) -> str:
        return "control plane" if (where, port) in self._own else never(where)

    async def _refuse(self, rule: str, detail: str) -> None:
        await sleep(MOMENT_S)
        raise RequestFailed(NOT_ALLOWED + rule, detail)

    def __repr__(self) -> str:
        entries = "no list" if self.allow is None else f"{len(self.allow.allow)} entries"
        return f"<Fence {entries}, {len(self._own)} places of the control plane>"


OPEN: Final = Fence()
"""Of runs without a list."""


def _rule(why: str) -> str:
    """The few words that stand in tables."""
    if "expired" in why:
        return "expired"
    if "is for ports" in why:
        return "port"
    return "address" if "entry is for" in why else "no entry"


def _named(host: str, address: str) -> str:
    shown = f"[{address}]" if ":" in address else address
    return f"{host} at {shown}" if host and host != address else shown
