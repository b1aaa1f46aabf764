"""Looks for anomalies over a longer time than one search covers. Pure.

A find must not depend on how far back somebody looks, so the time before `end` is divided into blocks of 4 weeks. Each
block is searched with the 4 weeks before it. The newest block is the search of the weekly page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from loadgen.analysis.anomalies.hours import HOUR_S
from loadgen.programme.anomalies.find import PAST_S, Anomaly, Search, search
from loadgen.programme.ledger.exclusions import Exclusion
from loadgen.programme.ledger.ledger import Counts

__all__ = ["first_of", "search_back"]

_BLOCK_S: Final = PAST_S // 2


def search_back(
    counts: Counts | None,
    slo: str,
    zone: str,
    exclusions: Sequence[Exclusion] = (),
    revisions: Sequence[str] = (),
    *,
    since: int,
    end: int,
) -> Search:
    """Return all anomalies in [since, end), Unix time in s; those of each hour are the same for every `since`.

    A block whose past is shorter, because the ledger begins in it, is searched with the first 8 weeks of the ledger
    instead: a search of few weeks is less exact.

    counts: from `first_of(since, end)` on. The other arguments, and the errors, are those of `search`.

    Cost: one `search` for each 4 weeks.
    """
    newest = search(counts, slo, zone, exclusions, revisions, end=end)
    found, read, partly = list(newest.found), newest.start, ""
    edge, last = end - _BLOCK_S, end
    while counts is not None and edge > since:
        begin = _begin(counts, edge)
        # A later search that has the same beginning has read all of this block.
        upto = edge if begin <= edge - PAST_S + HOUR_S else min(begin + PAST_S, end)
        if begin < edge and upto != last:
            block, last = search(counts, slo, zone, exclusions, revisions, end=upto), upto
            # A find over an edge is whole in the block after it.
            found = [one for one in found if one.end > edge]
            found += [one for one in block.found if one.start < edge and not _is_in(one, found)]
            read = block.start or read
            if block.why:
                partly = f"not searched before {datetime.fromtimestamp(edge, UTC):%Y-%m-%d %H:%M} UTC: {block.why}"
        edge -= _BLOCK_S
    inside = sorted((one for one in found if one.end > since), key=lambda one: (one.start, one.what))
    return replace(newest, found=tuple(inside), start=read, partly=partly)


def _begin(counts: Counts, edge: int) -> int:
    """Return where the counts in the past of a block begin, Unix time in s; `edge` without any."""
    inside = counts.start[(counts.start >= edge - PAST_S) & (counts.start < edge)]
    return int(inside.min()) if len(inside) else edge


def first_of(since: int, end: int) -> int:
    """Return from when on `search_back` needs counts, Unix time in s."""
    blocks = max(-(-(end - since) // _BLOCK_S), 1)
    return (end - (blocks - 1) * _BLOCK_S - PAST_S) // HOUR_S * HOUR_S


def _is_in(one: Anomaly, found: Sequence[Anomaly]) -> bool:
    return any(
        (one.what, one.direction) == (of.what, of.direction) and one.start < of.end and of.start < one.end
        for of in found
    )
