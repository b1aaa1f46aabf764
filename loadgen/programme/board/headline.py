"""The sentences of a board: the weighted headline, the largest gap, and what is orphaned. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from shlex import quote
from typing import Final, Literal

from loadgen.outside_text import one_line
from loadgen.programme.board.coverage import STALE_DAYS, BoardRow, State, Weights, is_present, is_stale
from loadgen.programme.board.facts import Known
from loadgen.units import format_count, quantity

__all__ = [
    "Orphan",
    "covered_share",
    "headline_of",
    "largest_gap",
    "orphans_of",
    "rounded_share",
    "share_text",
    "unknown_of",
]

_SHOWN: Final = 5
_CERTAIN: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something without its other half. kind: what it is. name: of the promise, the journey, the owner or the endpoint.

    command: what to do; "" if there is no command for it.
    """

    kind: Literal["promise without data", "promise without journey", "journey without production", "owner", "endpoint"]
    name: str
    says: str
    command: str = ""


def covered_share(rows: Sequence[BoardRow], shares: Mapping[str, float], state: State = "covered") -> float | None:
    """Return the weight of the journeys in a state, 0 to 1; None if no journey has a weight."""
    return sum(shares.get(row.journey, 0.0) for row in rows if row.state == state) if shares else None


def share_text(share: float) -> str:
    """Return a covered share in whole percent, rounded down, so that 99.9 % never reads 100 %. Above 0: "< 1 %"."""
    percent = floor(share * 100 + _CERTAIN)
    return f"{percent} %" if percent or share <= 0 else "< 1 %"


def headline_of(rows: Sequence[BoardRow], weights: Weights) -> str:
    """Return the weighted state in one sentence without a full stop."""
    if not rows:
        return "no journey is known: neither promises, nor programme.toml, nor accepted runs name one"
    of_requests = covered_share(rows, weights.shares)
    of_value = covered_share(rows, weights.values)
    counted = "requests" if not weights.no_requests else "counted requests"
    parts = [f"{share_text(of_requests)} of {counted}"] if of_requests is not None else []
    parts += [f"{share_text(of_value)} of value"] if of_value is not None else []
    covered = sum(row.state == "covered" for row in rows)
    text = f"covered {', '.join(parts)}" if parts else f"covered {covered} of {quantity(len(rows), 'journey')}"
    text += "" if parts else "; no requests are counted, so nothing is weighted"
    gap = largest_gap(rows)
    return f"{text}; {gap}" if gap else text


def largest_gap(rows: Sequence[BoardRow]) -> str:
    """Return the journey that is not covered and has the most requests, with its first gap; "" if all are covered."""
    open_ = [row for row in rows if row.state != "covered"]
    if not open_:
        return ""
    row = max(open_, key=lambda one: (one.share is not None, one.share or 0.0, one.state == "not", one.journey))
    says = one_line(row.missing[0].says, 160)
    share = "share unknown" if row.share is None else f"{rounded_share(row.share)}"
    return f"largest gap: {one_line(row.journey, 80)} ({share}), {says}"


def rounded_share(share: float) -> str:
    """Return the share of a single journey in whole percent."""
    return f"{share * 100:.0f} %" if share >= 0.005 else "< 1 %"


def unknown_of(weights: Weights, names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each kind of share that is not known for all journeys."""
    if missing := weights.no_requests:
        yield f"no counted requests, so no share: {_listed(missing)}"
    if weights.why_no_value:
        yield f"shares of value are unknown: {weights.why_no_value}"
    elif missing := weights.no_value:
        yield f"no share of value, since value or requests are missing: {_listed(missing)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name, 80) for name in names[:_SHOWN]) + more


def orphans_of(known: Known, rows: Sequence[BoardRow], when: datetime) -> Iterator[Orphan]:
    """Yield promises without data or journey, journeys of runs without production, owners who left, and endpoints that
    no journey sends.
    """
    names = {row.journey for row in rows}
    for promise in known.promises:
        if promise.journey and promise.journey not in names:
            continue
        if promise.word != "not judged" and is_stale(promise, when):
            source = f" from {one_line(promise.source, 80)}" if promise.source else ""
            last = promise.last_data(when)
            since = "ever" if last is None else f"for {STALE_DAYS} days"
            says = f"{promise.slo} has had no counts{source} {since}"
            yield Orphan("promise without data", promise.slo, says, "loadgen slo pull")
        if not promise.journey:
            says = f"{promise.slo} names no journey, so its requests are in no share"
            yield Orphan("promise without journey", promise.slo, says, "write loadgen.dev/journey into its annotations")
    for row in rows:
        if row.last_run is not None and row.is_live and not row.requests:
            counted = "has no requests in production" if row.requests == 0 else "is counted by no promise"
            says = f"{row.journey} has runs, and {counted} in the last 28 days"
            yield Orphan("journey without production", row.journey, says, f"loadgen slo new {quote(row.journey)}")
    if known.present_owners is not None:
        owned: dict[str, list[str]] = {}
        for row in rows:
            if row.owner and not is_present(row.owner, known.present_owners):
                owned.setdefault(row.owner, []).append(row.journey)
        for owner, journeys in owned.items():
            yield Orphan("owner", owner, f"{owner} is not in the list of owners, and owns {_listed(journeys)}")
    total = sum(known.log_requests.values()) + sum(count for _, count in known.no_journey)
    for endpoint, count in sorted(known.no_journey, key=lambda one: (-one[1], one[0])):
        share = f", {rounded_share(count / total)} of the log" if total else ""
        traces = known.traced.get(endpoint, 0)
        without = f"in {quantity(traces, 'trace')}" if traces else "no traffic"
        seen = f"{format_count(count)} requests{share}" if count else without
        yield Orphan("endpoint", endpoint, f"{endpoint} belongs to no journey ({seen})")
