"""Marks: what happened at the target, such as a restart or a change by automatic scaling, on the run's clock. Pure.

`metrics.json` has marks of two forms: those of probes, and the activities of automatic scaling at AWS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Final

import msgspec

from loadgen.outside_text import one_line
from loadgen.units import NS_PER_S, format_duration

__all__ = ["MARKS_MOST", "Mark", "page_marks"]

MARKS_MOST: Final = 200
"""The most marks of a page, beside those of the run itself."""
_TEXT_MOST: Final = 300


class Mark(msgspec.Struct, frozen=True):
    """A mark of `metrics.json`. A probe's has `probe` and `text`; an activity of automatic scaling has the others."""

    at_s: float
    """The time from T0, s; below 0 before the load."""
    error_s: float = 0.0
    """The most by which the time may be off."""
    probe: str = ""
    text: str = ""
    name: str = ""
    """What automatic scaling changed."""
    title: str = ""
    status: str = ""
    cause: str = ""
    length_s: float | None = None

    @property
    def source(self) -> str:
        """Return the name of the probe, or of what was scaled."""
        return one_line(self.probe or self.name, 80)

    @property
    def words(self) -> str:
        """Return what happened, on one line."""
        if self.text:
            return one_line(self.text, _TEXT_MOST)
        status = f" ({self.status})" if self.status and self.status != "Successful" else ""
        length = f", {format_duration(round(self.length_s * NS_PER_S))} long" if self.length_s else ""
        cause = f": {self.cause}" if self.cause else ""
        return one_line(f"{self.title or 'a change'}{status}{length}{cause}", _TEXT_MOST)


def page_marks(own: Iterable[Mapping[str, object]], target: Sequence[Mark]) -> list[Mapping[str, object]]:
    """Return the marks of a page by time: those of the run, and those of the target.

    own: marks with `at_s`, `kind` and `text`. The target's have the kind "target", and also `source` and `error_s`.
    Of more than `MARKS_MOST` marks of the target, those nearest to the start of the load are left.
    """
    there = [one for one in target if isfinite(one.at_s)]
    if len(there) > MARKS_MOST:
        there = sorted(there, key=lambda one: (one.at_s < 0, abs(one.at_s)))[:MARKS_MOST]
    found = [
        {
            "at_s": round(one.at_s, 3),
            "kind": "target",
            "text": one.words,
            "source": one.source,
            "error_s": one.error_s if isfinite(one.error_s) and one.error_s >= 0 else 0.0,
        }
        for one in there
    ]
    return sorted([*own, *found], key=lambda mark: float(str(mark["at_s"])))
