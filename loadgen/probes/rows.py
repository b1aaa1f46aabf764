"""Rows, the shown figures of a probe, and the series of which a row consists. Pure values."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = [
    "GAUGE_SERIES_MOST",
    "SERIES_MOST",
    "Labels",
    "Part",
    "ReadKind",
    "Row",
    "RowKind",
    "Series",
    "labelled",
    "shortened",
]

SERIES_MOST: Final = 2_000
"""The most series of a probe, buckets included."""
GAUGE_SERIES_MOST: Final = 8
"""The most series of a named gauge: each has a row of its own."""
_TITLE_MOST: Final = 200

Labels = tuple[tuple[str, str], ...]
"""The labels of a series as (name, value), sorted by name."""
ReadKind = Literal["gauge", "counter", "share", "histogram"]
RowKind = Literal["gauge", "counter", "share", "histogram", "any"]
"""gauge: the value as it is. counter: the rate of increase. share: the increase of one counter divided by that of
another. histogram: the buckets that hold percentiles. any: the type on the page decides."""
Part = Literal["value", "of", "bucket", "start"]
"""The role of a series in its row. of: the denominator of a share. start: the start time of the server's process."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a probe: its title, its metrics, and the way to read them."""

    key: str
    title: str
    kind: RowKind
    names: tuple[str, ...]
    """The metric's names, the newest first."""
    of: tuple[str, ...] = ()
    """For a share: the names of the denominator."""
    unit: str = ""
    scale: float = 1.0
    """Values are multiplied by this for display: 100 for a share in %."""
    over: Literal["sum", "max", "each"] = "sum"
    """For gauges: how values of several series, such as several engines, become one. each: every series has a row."""
    is_optional: bool = False
    """Whether the metric may be missing without a note."""


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """One series of a row."""

    row: str
    """The key of its row; empty for the start time of the process."""
    part: Part
    name: str
    labels: Labels = ()
    le: float | None = None
    """The upper bound of a bucket; None in the bucket without a bound."""


def labelled(row: Row, labels: Labels) -> Row:
    """Return a row of its own for one series of `row`: labels are added to key and title. A long title is cut."""
    text = ",".join(f"{name}={value}" for name, value in labels)
    title = shortened(f"{row.title} {text}")
    return msgspec.structs.replace(row, key=f"{row.key}[{text}]", title=title) if text else row


def shortened(title: str) -> str:
    """Return the title of a row, cut after 200 characters: a label from outside can have megabytes."""
    return title if len(title) <= _TITLE_MOST else f"{title[: _TITLE_MOST - 3]}..."
