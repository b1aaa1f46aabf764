"""What other parts of the programme add to a weekly page: anomalies, production week on week, and what is at stake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite

from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.anomalies.answers import answers
from loadgen.programme.anomalies.blocks import search_back
from loadgen.programme.anomalies.said import anomalies_section
from loadgen.programme.anomalies.week_change import production_change
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.gathering.promises import Volume
from loadgen.programme.launching.at_stake import stakes
from loadgen.programme.money_file import Money
from loadgen.programme.promises.objectives import Method
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import slice_inputs
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Said, Shown
from loadgen.programme.weekly.rows import FromOthers
from loadgen.units import format_count, quantity

__all__ = ["from_others"]

_WEEK_S = 7 * 86_400


def from_others(place: Place, gathered: Gathered, money: Mapping[str, Money]) -> FromOthers:
    """Return what the other parts find for this page. money: by journey, from `programme.toml`.

    Raises:
        StorageError, CloudError: the answers to anomalies cannot be read.

    Cost: some 80 ms for each promise.
    """
    settings, period = gathered.settings, gathered.period
    given, unreadable = answers(place, gathered.as_of)
    searches = [
        search_back(
            one.counts,
            one.objective.name,
            settings.zone,
            gathered.exclusions,
            one.names,
            since=period.start,
            end=gathered.at,
        )
        for one in gathered.promises
        if not one.objective.why_not_judged
    ]
    owners = {one.objective.name: one_line(one.objective.owner, 120) for one in gathered.promises}
    section, entries = anomalies_section(
        searches, given, (period.start, gathered.at), settings.zone, gathered.now, owners
    )
    notes = tuple(Said(f"{one_line(text, 300)}.", "open", key="answers not read") for text in unreadable)
    book = EvidenceBook()
    changed = () if period.is_quarter else tuple(_changed(gathered, book))
    at_stake, of_money = _at_stake(gathered, money)
    return FromOthers(
        at_stake=at_stake,
        anomalies=replace(section, items=(*section.items, *notes)),
        changed=changed,
        evidence=(*entries, *of_money, *book.entries({id_ for one in changed for id_ in one.evidence})),
    )


def _changed(gathered: Gathered, book: EvidenceBook) -> Iterator[Said]:
    """Yield how production certainly differs from the week before: in its share of bad requests, and in its volume."""
    for one in gathered.promises:
        if one.objective.why_not_judged or one.counts is None:
            continue
        name, start = one.objective.name, gathered.period.start
        found = production_change(one.counts, name, gathered.settings.zone, start, gathered.exclusions)
        for what, is_bad, change in (
            ("bad requests", True, found.bad_share),
            ("requests", False, found.volume),
        ):
            if not isfinite(change.change) or change.is_difference or change.low <= 0 <= change.high:
                continue
            word = "more" if change.change > 0 else "fewer"
            low, high = sorted((abs(change.low), abs(change.high)))
            text = f"{one_line(name, 63)} had {100 * abs(change.change):.0f} % {word} {what}"
            text += " for each request" if is_bad else ""
            text += f" than in the week before ({100 * low:.0f} to {100 * high:.0f} %)"
            id_ = book.add(
                "slices",
                f"{text}, {quantity(change.n_days, 'pair')} of days",
                "the mean over pairs of days of log(this week / week before) for matching hours = log"
                f" {1 + change.change:.6g}; 95 % interval with the standard error of Newey and West: log"
                f" {1 + change.low:.6g} to log {1 + change.high:.6g}",
                (
                    *slice_inputs(one, gathered, start - _WEEK_S, gathered.at, *_sums(one, start - _WEEK_S, gathered)),
                    ("pairs of days", str(change.n_days)),
                    ("pairs of hours", str(change.n_hours)),
                ),
                revisions=one.revisions(start - _WEEK_S, gathered.at),
            )
            is_worse = is_bad and change.change > 0
            owner = one_line(one.objective.owner, 120) if is_worse else ""
            yield Said(f"{text}.", "bad" if is_worse else "plain", (id_,), owner, "production week on week")


def _sums(one: Promise, start: int, gathered: Gathered) -> tuple[float, float]:
    if one.units is None:
        return 0.0, 0.0
    inside = (one.units.start >= start) & (one.units.start < gathered.at)
    return float(one.units.good[inside].sum()), float(one.units.total[inside].sum())


def _at_stake(gathered: Gathered, money: Mapping[str, Money]) -> tuple[dict[str, Shown], tuple[EvidenceEntry, ...]]:
    """Return what failed requests of the page's time cost, by journey, where a value and a share are given."""
    cells: dict[str, Shown] = {}
    entries: list[EvidenceEntry] = []
    for one in gathered.promises:
        worth = money.get(one.journey)
        if worth is None or worth.value is None or worth.abandoned is None or one.journey in cells:
            continue
        # A promise with a threshold counts slow requests as bad, too, and they did not fail.
        if one.units is None or one.objective.threshold is not None or one.objective.method is not Method.OCCURRENCES:
            continue
        good, total = _sums(one, gathered.period.start, gathered)
        if not total:
            continue
        inside = (one.units.start >= gathered.period.start) & (one.units.start < gathered.at)
        missing_s = gathered.at - gathered.period.start - float((one.units.width - one.units.missing)[inside].sum())
        volume = Volume(round(total), round(total - good), max(missing_s, 0.0), one.objective.name, "")
        for stake in stakes((one.journey,), {one.journey: worth}, {one.journey: volume}, {}):
            if stake.failures is None or not stake.failures.is_known:
                continue
            cost = stake.failures
            text = f"{format_count(round(cost.point))} {cost.currency}"
            text += f" ({format_count(round(cost.low))} to {format_count(round(cost.high))})"
            cells[one.journey] = Shown(
                text, "plain", cost.point, cost.low, cost.high, cost.currency, round(total - good),
                is_estimate=True, evidence=(stake.entry.id,),
            )  # fmt: skip
            entries.append(stake.entry)
    return cells, tuple(entries)
