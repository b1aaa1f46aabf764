"""Numbers the series of one worker or agent, and merges those beyond a limit into `(other)`.

Names come from scenario code, so there may be any number of them. When most numbers are in use, a
new series loses the parts of its name that distinguish it from its neighbours, the least important
first. So the sum over all series stays exact:

    from 80 % of the limit on  its outcome and the values of its tags
    from 90 %                  also the names of its step and request, and its tags
    from 95 %                  also its journey

Outcomes that objectives need stay separate as long as possible: `ok`, `skipped`, `timeout`,
`cut off` and `missed` are never merged with other outcomes. Trends only lose their tags: a plan
declares them, so they are few.

The same rule holds in the recorder of a worker, in the agent that adds up its workers, and for the
whole run in the controller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from loadgen.measure.deltas.limits import NAME_BYTES, SERIES_OF_AGENT, cut
from loadgen.measure.deltas.series_key import CUT_OFF, MISSED, OK, OTHER, SKIPPED, TIMEOUT, SeriesKey

__all__ = ["Numbering", "fitting", "is_merged", "shortened", "tight_from"]

_KEPT: Final = frozenset((OK, SKIPPED, TIMEOUT, CUT_OFF, MISSED))
_SHORT: Final = NAME_BYTES // 4
"""A name of this many characters is within the limit, whatever characters it has."""


def tight_from(most: int) -> int:
    """Return the number of series (80 % of the limit `most`) from which on new series are merged with others."""
    return most * 80 // 100


def fitting(key: SeriesKey, is_known: Callable[[SeriesKey], bool], used: int, most: int) -> SeriesKey:
    """Return the series under which a new series is counted: `key` itself while there is room, else a merged series.

    A merged series has `(other)` in place of a part of its name. The fuller the table is, the more parts are replaced.

    Args:
        is_known: returns whether a series has a number already.
        used: count of numbers in use.
        most: limit of numbers.
    """
    if used < tight_from(most) or (key.kind == "trend" and not key.tags):
        return key
    outcome = key.outcome if key.outcome in _KEPT else OTHER
    merged = replace(key, outcome=outcome, tags=tuple((name, OTHER) for name, _ in key.tags))
    if used < most * 90 // 100 or is_known(merged):
        return merged
    if key.kind == "trend":
        return replace(merged, tags=((OTHER, OTHER),))
    # The tag also marks a journey's own series as merged, so it may be sent more than once.
    merged = replace(merged, step=key.step and OTHER, request=key.request and OTHER, tags=((OTHER, OTHER),))
    if used < most * 95 // 100 or is_known(merged):
        return merged
    return replace(merged, journey=OTHER)


def is_merged(key: SeriesKey) -> bool:
    """Return whether the key stands for several series together: a part of its name or the value of a tag is `(other)`.

    An agent may send such a key as a new series more than once.
    """
    if OTHER in (key.outcome, key.step, key.request, key.journey):
        return True
    return any(value == OTHER for _, value in key.tags)


def shortened(key: SeriesKey) -> SeriesKey:
    """Return the key with each part of its name cut to the limit of bytes; the same object if no part is too long."""
    in_all = len(key.journey) + len(key.step or "") + len(key.request or "") + len(key.outcome)
    if in_all <= _SHORT and not key.tags:
        return key  # nearly always: a cheap test of every new series
    texts = (key.journey, key.step or "", key.request or "", key.outcome, *(text for tag in key.tags for text in tag))
    if max(map(len, texts)) <= _SHORT:
        return key
    return replace(
        key,
        journey=cut(key.journey),
        step=None if key.step is None else cut(key.step),
        request=None if key.request is None else cut(key.request),
        outcome=cut(key.outcome),
        tags=tuple((cut(name), cut(value)) for name, value in key.tags),
    )


class Numbering:
    """Numbers series from 0 in the order in which they are first used."""

    __slots__ = ("_most", "_numbers", "is_full", "keys")

    def __init__(self, most: int = SERIES_OF_AGENT) -> None:
        self._most = most
        self._numbers: dict[SeriesKey, int] = {}
        self.keys: list[SeriesKey] = []
        """The series, by number."""
        self.is_full = False
        """True once a series was merged because there were too many."""

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, key: SeriesKey) -> int:
        """Return the number under which the values of a series are counted; a new series gets the next number.

        When the table is nearly full, this is the number of a merged series that stands for several.
        """
        numbers = self._numbers
        found = numbers.get(key)
        if found is not None:
            return found
        short = shortened(key)
        if short is not key and (found := numbers.get(short)) is not None:
            return found
        kept = fitting(short, numbers.__contains__, len(self.keys), self._most)
        if kept != short:
            self.is_full = True
            if (found := numbers.get(kept)) is not None:
                return found
        numbers[kept] = found = len(self.keys)
        self.keys.append(kept)
        return found
