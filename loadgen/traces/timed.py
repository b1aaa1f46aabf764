"""A sampled request of ours, joined with its trace: what all comparisons of slow and fast requests start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, TypeVar

import msgspec

from loadgen.traces.model import Path, Rule, Tree, Value

__all__ = ["OUR_SIDE", "WIRE", "Observed", "Parted", "PathTime", "SomeParted", "TimedTrace"]

OUR_SIDE: Path = ("loadgen: waiting on our side",)
"""The path of the time before the request was sent and after its answer came: due to sent, pool, connect."""
WIRE: Path = ("between client and server",)
"""The path of the time between the client and the root span of the server: network, queues, proxies."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One sampled request or iteration as our agents measured it.

    weight: the number of requests that this sample represents, above 0. at_s: due time in s from T0.
    response_ns: from due to done. service_ns: from sent to done. attributes: region, agent, active loads, tags.
    is_fit: the load generator was able to measure in that second. is_pool_limited: the request waited for a free user.
    """

    trace: str
    journey: str
    step: str
    request: str
    outcome: str
    region: str
    at_s: float
    response_ns: int
    service_ns: int
    weight: float
    span: str = ""
    is_fit: bool = True
    is_pool_limited: bool = False
    attributes: Mapping[str, Value] = {}


class PathTime(msgspec.Struct, frozen=True, gc=False):
    """The time on the critical path of all spans with one path in one trace, without their children.

    own_ns: an integer; the sum over all paths of a trace is the response time, exactly. before_ns, between_ns,
    after_ns: own time before the first child, between children and after the last one; they add up to own_ns.
    calls: spans with this path in the trace, also those off the critical path.
    """

    own_ns: int
    calls: int
    before_ns: int = 0
    between_ns: int = 0
    after_ns: int = 0


class TimedTrace(msgspec.Struct, frozen=True):
    """A request with the exact partition of its response time. `paths` has OUR_SIDE and WIRE, too."""

    observed: Observed
    tree: Tree
    paths: Mapping[Path, PathTime]

    @property
    def is_complete(self) -> bool:
        """Return whether the trace may be compared with others."""
        return self.tree.is_complete

    @property
    def repaired(self) -> Mapping[Rule, int]:
        """Return how often each rule of repair was applied."""
        return self.tree.repaired

    def with_weight(self, weight: float) -> TimedTrace:
        """Return the same with another weight."""
        return TimedTrace(msgspec.structs.replace(self.observed, weight=weight), self.tree, self.paths)


class Parted(Protocol):
    """A request with its partition by path: a `TimedTrace` with its tree, or a `CompactTrace` without it."""

    @property
    def observed(self) -> Observed: ...
    @property
    def paths(self) -> Mapping[Path, PathTime]: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def repaired(self) -> Mapping[Rule, int]: ...
    def with_weight(self, weight: float) -> Self: ...


SomeParted = TypeVar("SomeParted", bound=Parted)
