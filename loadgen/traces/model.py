"""Spans and traces as every reader returns them, and as repair leaves them.

Times are integer ns since 1970 by the clock of the span's own machine. Ids are lower-case hex digits: 32 of a trace
(shorter ones get zeros in front), 16 of a span.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

__all__ = [
    "MOST_ATTRIBUTES",
    "MOST_SPANS",
    "MOST_TEXT",
    "OUR_SERVICE",
    "RULES",
    "Kind",
    "Path",
    "Piece",
    "Rule",
    "Span",
    "Status",
    "Trace",
    "Tree",
    "Value",
]

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Status = Literal["unset", "ok", "error"]
Value = str | int | float | bool
Path = tuple[str, ...]
"""The way from the root to a span, `service: operation` for each span."""

OUR_SERVICE: Final = "loadgen"
"""The `service.name` of the spans that `Trace(export=...)` sends."""
MOST_SPANS: Final = 200_000
"""Most spans of one trace; a longer one is cut, and its trace is incomplete."""
MOST_ATTRIBUTES: Final = 128
MOST_TEXT: Final = 1_024
"""Most characters of one text of a span."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span. attributes, resource: only names that the allow-list has, with redacted values.

    end_ns: None if the span has no end. parent: "" without one. resolution_ns: the unit of the span's times, 1 for
    exact ones, 1,000,000 for times in whole ms. links: ids of spans in other traces or places.
    """

    id: str
    parent: str
    service: str
    operation: str
    start_ns: int
    end_ns: int | None
    kind: Kind = "internal"
    status: Status = "unset"
    attributes: Mapping[str, Value] = {}
    resource: Mapping[str, Value] = {}
    links: tuple[str, ...] = ()
    resolution_ns: int = 1

    @property
    def name(self) -> str:
        """`service: operation`, the element of a path."""
        return f"{self.service}: {self.operation}"


class Trace(msgspec.Struct, frozen=True, gc=False):
    """A trace as it was read. is_cut: the source returned only some of its spans."""

    id: str
    spans: tuple[Span, ...]
    is_cut: bool = False


Rule = Literal[
    "same span twice",
    "shared id split",
    "orphan",
    "no end",
    "impossible times",
    "cycle",
    "clock moved",
    "clock guessed",
    "cut at parent",
    "not waited for",
    "folded",
    "incomplete",
]
RULES: Final[tuple[Rule, ...]] = (
    "same span twice",
    "shared id split",
    "orphan",
    "no end",
    "impossible times",
    "cycle",
    "clock moved",
    "clock guessed",
    "cut at parent",
    "not waited for",
    "folded",
    "incomplete",
)
"""The rules of repair, in the order in which they apply. All counts are counts of spans, except those of `cycle`,
`impossible times` and `incomplete`, which are counts of traces. `clock guessed`: moved without bounds of the offset."""


class Tree(msgspec.Struct, frozen=True):
    """A repaired trace: each span lies within its parent.

    children: by id of the parent, those that the parent can have waited for. Spans for which no parent waited, and
    orphans, are not in it. is_complete: false if it must stay outside of cohorts. spans: of the tree, by id, each
    with an end. outside_ns: the time of orphans. repaired: how often each rule was applied.
    """

    trace: str
    root: Span
    spans: Mapping[str, Span]
    children: Mapping[str, tuple[Span, ...]]
    is_complete: bool = True
    outside_ns: int = 0
    repaired: Mapping[Rule, int] = {}

    def path_of(self, span: Span) -> Path:
        """Return the way from the root to a span. Cost: one step for each ancestor."""
        names: list[str] = []
        at: Span | None = span
        while at is not None:
            names.append(at.name)
            at = None if at is self.root else self.spans.get(at.parent)
        return tuple(reversed(names))


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of the critical path, in which the response waited for this span and for none of its children."""

    span: Span
    begin_ns: int
    end_ns: int
