"""Which targets are asked over HTTP/3, and where: all with `http3="only"`, else those whose Alt-Svc offers it.

Each pool has its own object, so each user has to see an offer first, as the browser of a new visitor does. An offer has
a lifetime, and the target may withdraw it. An offer that cannot be used is not tried again for BROKEN_S.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from loadgen.clients.http3.alt_svc import h3_offer

__all__ = ["BROKEN_S", "Alternatives"]

BROKEN_S: Final = 300.0
"""How long an offer that could not be used is not tried again. RFC 7838 asks for such a time; Chrome begins with 300
s."""
_MOST: Final = 1024

Place = tuple[str, int]


class Alternatives:
    """Where each origin is asked over HTTP/3. only: every origin is, at its own port."""

    __slots__ = ("_broken", "_clock", "_offers", "only")

    def __init__(self, *, only: bool, clock: Callable[[], float] = monotonic) -> None:
        self.only, self._clock = only, clock
        self._offers: dict[Place, tuple[Place, float]] = {}
        """By (host, port) of the origin: where, and until when."""
        self._broken: dict[Place, float] = {}
        """By (host, port) of the alternative: until when it is not tried."""

    def place_of(self, origin: Place) -> Place | None:
        """Return the (host, port) at which an origin is asked over HTTP/3; None: it is asked over TCP."""
        if self.only:
            return origin
        offer = self._offers.get(origin)
        if offer is None:
            return None
        place, until_s = offer
        now_s = self._clock()
        if now_s >= until_s:
            del self._offers[origin]
            return None
        return None if self._broken.get(place, 0.0) > now_s else place

    def learn(self, origin: Place, value: str) -> bool:
        """Remember the value of Alt-Svc in an answer of `origin`. Return True if the origin is asked over HTTP/3 from
        now on, and was not before.
        """
        offer = h3_offer(value)
        if offer is None:
            return False
        if not offer.age_s:
            self._offers.pop(origin, None)
            return False
        before = self.place_of(origin)
        if len(self._offers) >= _MOST:
            self._offers.clear()
        self._offers[origin] = (offer.host or origin[0], offer.port), self._clock() + offer.age_s
        return before is None and self.place_of(origin) is not None

    def failed(self, place: Place) -> None:
        """Do not try this alternative for a while."""
        self._broken[place] = self._clock() + BROKEN_S
