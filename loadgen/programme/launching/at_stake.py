"""What a release puts at stake: rows that inform, and never change a recommendation. Pure.

    stakes(("checkout",), money, volumes, changes)

The change is that of the mean response time against the pinned release, because every request counts once in a mean.
`loadgen.analysis.recommending.impact` bounds what is claimed: no effect beyond the tested range, no sum over journeys
of the same purchase, no conversion of currencies, no saving from a speed-up that is not certain, and never a cause.
Where no value is given, the waiting time of all users stands instead of money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from loadgen.analysis.recommending.impact import (
    Elasticity,
    Impact,
    ImpactError,
    Span,
    failures_impact,
    impact_of,
    seconds_lost,
    total,
)
from loadgen.programme.evidence.entry import EvidenceEntry, evidence_id
from loadgen.programme.gathering.promises import Volume
from loadgen.programme.money_file import Money
from loadgen.programme.recommending.performance import MeanChange
from loadgen.programme.recommending.recommendation import Evidence
from loadgen.units import format_count

__all__ = ["Stake", "impact_document", "impact_rows", "stakes", "total_said", "without_money"]


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake for one journey. says: without a full stop.

    impact: of the slow-down, failures: of failed requests; None: no value, or no figure of one. waiting: the additional
    time that all users wait a week, s; None: not known.
    """

    journey: str
    says: str
    entry: EvidenceEntry
    impact: Impact | None = None
    failures: Impact | None = None
    waiting: Span | None = None
    requests: float | None = None
    change: MeanChange | None = None
    notes: tuple[str, ...] = ()


def stakes(
    journeys: Sequence[str],
    money: Mapping[str, Money],
    volumes: Mapping[str, Volume],
    changes: Mapping[str, MeanChange],
) -> tuple[Stake, ...]:
    """Return what is at stake for each journey of which anything is known. All mappings are by journey."""
    found = (_stake(one, money.get(one, Money()), volumes.get(one), changes.get(one)) for one in journeys)
    return tuple(one for one in found if one is not None)


def impact_rows(found: Sequence[Stake], release: str) -> tuple[Evidence, ...]:
    """Return a row that informs for each journey."""
    return tuple(
        Evidence(
            "impact",
            one.entry.id,
            "open",
            one.says,
            release=release,
            required=False,
            journey=one.journey,
            arithmetic=one.entry.formula,
        )
        for one in found
    )


def total_said(found: Sequence[Stake]) -> str:
    """Return a sentence about the sum of several journeys, or why there is none; "" for fewer than two with money."""
    impacts = [one.impact for one in found if one.impact is not None]
    if len(impacts) < 2:
        return ""
    try:
        return f"all journeys together: {total(impacts).said()}"
    except ImpactError as error:
        return f"no sum over the journeys: {error}"


def without_money(journeys: Sequence[str], money: Mapping[str, Money]) -> tuple[str, ...]:
    """Return what `programme.toml` lacks for a figure in money, one text for each journey that lacks something."""
    lacking = ((one, _absent(money.get(one, Money()))) for one in journeys)
    return tuple(f"{absent} of [journeys.{one}]" for one, absent in lacking if absent)


def impact_document(found: Sequence[Stake]) -> list[dict[str, Any]]:
    """Return what is at stake for JSON. Figures that are not known are None."""
    return [
        {
            "journey": one.journey,
            "id": one.entry.id,
            "says": one.says,
            "per": "week",
            "requests": one.requests,
            "change_ms": None if one.change is None else _span(one.change),
            "money": _money(one.impact),
            "failures": _money(one.failures),
            "waiting_s": None if one.waiting is None else _span(one.waiting),
            "notes": list(one.notes),
        }
        for one in found
    ]


def _stake(journey: str, money: Money, volume: Volume | None, change: MeanChange | None) -> Stake | None:
    requests = money.volume if money.volume is not None else None if volume is None else float(volume.requests)
    has_money = money.value is not None
    if not has_money and (requests is None or change is None):
        return None
    parts: list[str] = []
    notes: list[str] = []
    impact = failures = waiting = None
    if money.volume is None and volume is not None and volume.missing_s:
        notes.append(f"{volume.missing_s / 3600:.0f} hours of the week have no counts, and their requests are left out")
    if requests is None:
        notes.append("the volume is unknown: the ledger has no counts of this journey")
    if change is None:
        notes.append("the change of the mean response time against a pinned release is unknown")
    if change is not None and requests is not None:
        span = Span(change.point, change.low, change.high)
        waiting = seconds_lost(requests, span)
        text = f"the mean changed by {change.point:+.3g} ms ({change.low:.3g} to {change.high:.3g}, 95 %)"
        parts.append(f"{text} against {change.reference}, for {format_count(round(requests))} requests a week")
        if money.value is not None and money.elasticity is not None:
            impact = impact_of(money.value, requests, span, money.elasticity, money.currency, purchase=money.purchase)
            parts.append(impact.said())
        else:
            parts.append(_waiting(waiting))
    if absent := _absent(money):
        why = "the value has no elasticity, so there" if has_money else "there"
        notes.append(f"{why} is no figure in money: programme.toml lacks {absent} of [journeys.{journey}]")
    if volume is not None and volume.bad is not None:
        failures = _failures(money, volume.bad)
        if failures is not None:
            parts.append(f"{format_count(volume.bad)} failed requests a week: {failures.said()}")
        elif not has_money and volume.bad:
            parts.append(f"{format_count(volume.bad)} failed requests a week")
    says = "; ".join((*parts, *notes)) or "nothing is known about what is at stake"
    return Stake(
        journey, says, _entry(journey, money, volume, change, says), impact, failures, waiting, requests, change,
        tuple(notes),
    )  # fmt: skip


def _absent(money: Money) -> str:
    """Return the keys that a figure in money needs and the table of the journey lacks; "" if it has both."""
    keys = (("`value`", money.value), ("`elasticity`", money.elasticity))
    return " and ".join(key for key, given in keys if given is None)


def _failures(money: Money, bad: int) -> Impact | None:
    if money.value is None or money.abandoned is None:
        return None
    return failures_impact(float(bad), money.value, money.abandoned.share, money.currency, purchase=money.purchase)


def _waiting(span: Span) -> str:
    hours = (span.point / 3600, span.low / 3600, span.high / 3600)
    return f"all users together wait {hours[0]:+,.1f} hours a week ({hours[1]:,.1f} to {hours[2]:,.1f})"


def _entry(journey: str, money: Money, volume: Volume | None, change: MeanChange | None, says: str) -> EvidenceEntry:
    inputs = [("journey", journey)]
    if money.value is not None:
        inputs.append(("value", f"{money.value:.12g} {money.currency}"))
    if money.volume is not None:
        inputs.append(("requests a week, from programme.toml", f"{money.volume:.12g}"))
    elif volume is not None:
        inputs += [("requests a week, from the ledger", str(volume.requests)), ("counts", volume.id or volume.slo)]
    if change is not None:
        inputs.append(("change of the mean", f"{change.point:.6g} ms ({change.low:.6g} to {change.high:.6g})"))
        inputs.append(("pinned release", change.reference))
    if money.elasticity is not None:
        inputs += _of_elasticity(money.elasticity)
    if money.abandoned is not None:
        share = money.abandoned.share
        text = f"{share.point:.6g} ({share.low:.6g} to {share.high:.6g}), {money.abandoned.source}"
        inputs.append(("share that gives up after a failure", text))
    formula = (
        "value x requests a week x change of the mean x elasticity; the interval is from 10,000 draws with a fixed"
    )
    formula += " seed. Waiting = requests x change. Failures = failed requests x value x share that gives up"
    return EvidenceEntry(evidence_id("facts", dict(inputs)), "facts", says, formula, tuple(inputs))


def _of_elasticity(one: Elasticity) -> list[tuple[str, str]]:
    change = f"{one.change.point * 100:.6g} % ({one.change.low * 100:.6g} to {one.change.high * 100:.6g} %)"
    tested = "unknown" if one.tested_ms is None else f"{one.tested_ms:g} ms"
    return [
        ("elasticity", f"{change} for each {one.per_ms:g} ms"),
        ("tested up to", tested),
        ("source", f"{one.kind}: {one.source}"),
    ]


def _money(one: Impact | None) -> dict[str, Any] | None:
    if one is None:
        return None
    ends = {name: value if isfinite(value) else None for name, value in _ends(one)}
    return {**ends, "currency": one.currency, "scenario": one.scenario or None, "notes": list(one.notes)}


def _ends(one: Impact | Span | MeanChange) -> tuple[tuple[str, float], ...]:
    return (("point", one.point), ("low", one.low), ("high", one.high))


def _span(one: Span | MeanChange) -> dict[str, float]:
    return dict(_ends(one))
