"""Sentences about anomalies for the weekly page, with their evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from loadgen.outside_text import one_line
from loadgen.programme.anomalies.answers import Answer, Find, finds, silenced
from loadgen.programme.anomalies.find import FORMULA, Anomaly, Search
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.status import time_text
from loadgen.programme.weekly.page_values import Said, Section
from loadgen.units import format_count, quantity

__all__ = ["anomalies_section", "evidence_of", "said_about", "sentence", "time_range"]

TITLE: Final = "Anomalies"
_MOST_SHOWN: Final = 5
"""New finds with a sentence of their own; the others are counted."""


def anomalies_section(
    searches: Iterable[Search],
    given: Sequence[Answer],
    period: tuple[int, int],
    zone: str,
    now: datetime,
    owners: Mapping[str, str] | None = None,
) -> tuple[Section, tuple[EvidenceEntry, ...]]:
    """Return the section of a page, and the evidence of its finds.

    Args:
        searches: of each promise, over some weeks more than the page's time. given: answers, oldest first.
        period: the page's time [start, end), Unix time in s. owners: by promise.
    """
    searches = list(searches)
    inside = [one for each in searches for one in each.found if one.start < period[1] and one.end > period[0]]
    said, evidence = said_about(finds(inside, given, now), zone, owners)
    unknown = [one for one in searches if one.why]
    if unknown:
        text = f"{quantity(len(unknown), 'promise')} could not be searched: {one_line(unknown[0].slo, 80)}: "
        said = (*said, Said(f"{text}{one_line(unknown[0].why, 200)}.", "open", key="anomalies not searched"))
    none = "Nothing unusual in the hourly counts." if searches else "No promise has counts."
    return Section(TITLE, said, none), evidence


def said_about(
    found: Sequence[Find], zone: str, owners: Mapping[str, str] | None = None
) -> tuple[tuple[Said, ...], tuple[EvidenceEntry, ...]]:
    """Return the sentences about finds, the furthest new ones first, then what is silenced; and their evidence."""
    new = sorted((one for one in found if one.state == "new"), key=lambda one: -abs(one.anomaly.deviations))
    said = [
        Said(f"{sentence(one, zone)}.", "open", (one.anomaly.id,), (owners or {}).get(one.anomaly.slo, ""), "anomaly")
        for one in new[:_MOST_SHOWN]
    ]
    if rest := new[_MOST_SHOWN:]:
        ids = tuple(one.anomaly.id for one in rest)
        said.append(Said(f"{quantity(len(rest), 'more find')} without an answer.", "open", ids, key="more anomalies"))
    quiet = [one for one in found if one.state != "new"]
    if counts := silenced(quiet):
        parts = ", ".join(f"{number} {state}" for state, number in counts.items())
        reasons = "; ".join(dict.fromkeys(_reason(one) for one in quiet))
        text = f"{quantity(len(quiet), 'find')} silenced ({parts}): {one_line(reasons, 400)}."
        said.append(Said(text, "plain", tuple(one.anomaly.id for one in quiet), key="silenced anomalies"))
    shown = sorted(found, key=lambda one: (one.anomaly.start, one.anomaly.id))
    return tuple(said), tuple(evidence_of(one, zone) for one in shown)


def sentence(one: Find, zone: str) -> str:
    """Return a find as a sentence without a full stop."""
    found = one.anomaly
    numbers = f"{format_count(round(found.observed))} {found.what}, where about {format_count(round(found.expected))}"
    text = f"{one_line(found.slo, 80)} had {numbers} are usual, {time_range(found, zone)}"
    if one.state == "new" and one.answer is not None:
        text += f"; its acceptance ended on {one.answer.until[:10]}"
    return text


def evidence_of(one: Find, zone: str) -> EvidenceEntry:
    """Return the evidence of a find."""
    found = one.anomaly
    inputs = [
        ("promise", one_line(found.slo, 80)),
        ("time", time_range(found, zone)),
        (f"observed {found.what}", f"{found.observed:.0f}"),
        ("expected", f"{found.expected:.1f}"),
        ("robust standard deviations", f"{found.deviations:+.1f}"),
        ("state", one.state),
    ]
    if found.past is not None:
        past = found.past
        read = f"{time_text(past.start)} to {time_text(past.end)}: {quantity(past.hours, 'hour')} with counts"
        inputs.append(("counts that were read", f"{read}, {quantity(past.gaps, 'gap')}"))
    if one.answer is not None:
        inputs += [("answer", _reason(one)), ("by", f"{one.answer.by}, {one.answer.at[:16].replace('T', ' ')}")]
    return EvidenceEntry(
        found.id,
        "anomaly",
        sentence(one, zone),
        FORMULA,
        tuple(inputs),
        found.revisions,
        see=f"loadgen slo anomaly list --from {datetime.fromtimestamp(found.start, ZoneInfo('UTC')):%Y-%m-%d}",
    )


def time_range(found: Anomaly, zone: str) -> str:
    """Return the time of a find by the wall clock: "Sat 12 Apr 2014, 17:00 to 18:00"."""
    tz = ZoneInfo(zone)
    start, end = (datetime.fromtimestamp(at, tz) for at in (found.start, found.end))
    begin = f"{start:%a} {start.day} {start:%b %Y}, {start:%H:%M}"
    if start.date() == end.date():
        return f"{begin} to {end:%H:%M}"
    return f"{begin} to {end:%a} {end.day} {end:%b}, {end:%H:%M}"


def _reason(one: Find) -> str:
    assert one.answer is not None
    until = f" until {one.answer.until[:10]}" if one.answer.until else ""
    link = f", {one.answer.link}" if one.answer.link else ""
    return f"{one.answer.state}{until} because {one.answer.because}{link}"
