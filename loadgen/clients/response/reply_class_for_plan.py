"""Chooses the classes of replies for a plan's settings, once, so that no single request has to check them.

A size limit other than the default is an attribute of the class. Plans with phases (`phased.py`) need classes with
attributes for the additional times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.phased import UNKNOWN
from loadgen.clients.response.discarded import DiscardedReply
from loadgen.clients.response.replies import Reply
from loadgen.clients.response.streams import StreamedReply
from loadgen.measure.deltas.series_key import OK

__all__ = ["Kinds", "kinds_of", "reply_class"]

R = TypeVar("R", bound=Reply)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The reply classes for one combination of settings."""

    reply: type[Reply]
    streamed: type[StreamedReply]
    discarded: type[DiscardedReply]


@cache
def kinds_of(limit_bytes: int, *, has_phases: bool) -> Kinds:
    """Return the classes of plain, streamed and discarded replies for a size limit of decoded bodies. has_phases: the
    replies measure the phases of each request.
    """
    return Kinds(
        reply_class(Reply, limit_bytes, has_phases=has_phases),
        reply_class(StreamedReply, limit_bytes, has_phases=has_phases),
        reply_class(DiscardedReply, limit_bytes, has_phases=has_phases),
    )


@cache
def reply_class(reply: type[R], limit_bytes: int, *, has_phases: bool) -> type[R]:
    """Return `reply` itself, or a subclass of it with this size limit, whose replies measure phases if `has_phases`."""
    if not has_phases and limit_bytes == MAX_BODY_BYTES:
        return reply
    body: dict[str, Any] = {"__slots__": (), "limit_bytes": limit_bytes}
    if has_phases:

        def __init__(self: Any, *given: Any) -> None:
            reply.__init__(self, *given)
            self.written_ns = UNKNOWN
            self.opening_ns = {}

        def opened(self: Any, opening: Opening, outcome: str = OK) -> None:
            reply.opened(self, opening, outcome)
            for phase, ns in opening.times.items():
                self.opening_ns[phase] = self.opening_ns.get(phase, 0) + ns

        body |= {"__slots__": ("opening_ns", "written_ns"), "__init__": __init__, "opened": opened}
    return type(reply.__name__, (reply,), body)
