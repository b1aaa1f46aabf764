"""Adds the error that `programme.toml` states about a source to the slices that the source returned. Pure.

    [sources.traces]
    sampled = "10 %"      # it keeps a tenth of the requests, at random, and scales its counts up
    error = "0.2 %"       # at most this part of all requests is counted on the wrong side

The ledger stores the error with each slice. So a page of a past week stays the same if the setting changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from loadgen.programme.ledger.ledger import Counts
from loadgen.programme.ledger.slices import ALL_KEPT_PPM, Slice
from loadgen.programme.pulling.source_settings import Source

__all__ = ["lacks_error", "with_stated_error"]


def with_stated_error(slices: Iterable[Slice], source: Source) -> list[Slice]:
    """Return the slices with the error that the settings of their source state; without such settings as they are.

    Counts that are scaled up are rounded to whole requests. That error is left out: it is at most half a request, and
    one sampled request stands for several.
    """
    if source.kept_ppm == ALL_KEPT_PPM and source.error is None:
        return list(slices)
    return [_stated(one, source) for one in slices]


def _stated(one: Slice, source: Source) -> Slice:
    if one.missing_s == one.width:
        return one
    is_unknown = one.estimated and one.bounds is None
    low, high = (one.good, one.good) if is_unknown else (one.low, one.high)
    if source.error is not None:
        off = ceil(Fraction(str(source.error)) * one.total)
        low, high = max(min(low, one.good - off), 0), min(max(high, one.good + off), one.total)
    return replace(one, estimated=True, bounds=(low, high), kept_ppm=source.kept_ppm)


def lacks_error(known: Counts, source: Source, *, is_bracketed: bool) -> NDArray[np.bool_]:
    """Return which slices of the ledger were stored without an error that their source states now, shape (slices,).

    The next pull reads them again. A slice with another sampled part keeps it: the part may have changed since.

    is_bracketed: whether the queries of the source give bounds.
    """
    errors = known.stated
    is_unknown = known.estimated & (known.total > 0) & (errors.low == 0) & (errors.high == known.total)
    has_bounds = is_bracketed or source.error is not None
    found: NDArray[np.bool_] = is_unknown & has_bounds
    if source.kept_ppm != ALL_KEPT_PPM:
        found |= (errors.kept_ppm == ALL_KEPT_PPM) & (known.total > 0)
    return found
