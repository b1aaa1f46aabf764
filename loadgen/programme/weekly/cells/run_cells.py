"""The cells from load tests: p95 week on week, and the newest verdict of the gate. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

from loadgen.errors import UsageError
from loadgen.history.compare.compare import compare
from loadgen.history.compare.comparison import Comparison, Side
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import Accepted
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.gather import PERCENTILE, Gathered, Verdict
from loadgen.programme.weekly.page_values import Shown, Tone
from loadgen.programme.weekly.wording import Change, certainty_of, worded
from loadgen.units import format_share, quantity

__all__ = ["Weeks", "gate_cell", "has_journey", "key_of", "newest_verdict", "week_cell", "weeks_of"]

_TONES: Final[Mapping[str, Tone]] = {"narrow": "good", "leans": "open", "wide": "open", "nothing": "plain"}
_OUTCOMES: Final[Mapping[str, Tone]] = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "open", "INVALID": "open"}
_FRESH_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Weeks:
    """The runs of this time and of the time before it, of one key, with their comparison. why: why there is none."""

    before: tuple[Accepted, ...]
    now: tuple[Accepted, ...]
    compared: Comparison | None
    why: str = ""


def has_journey(run: Accepted, journey: str) -> bool:
    """Return whether a run has a figure of a journey."""
    return any(one.name == journey for one in run.figures)


def key_of(runs: Sequence[Accepted], journey: str) -> str:
    """Return the hash of the key of the newest run with a journey; "": there is no such run."""
    return next((run.key.hash() for run in reversed(runs) if has_journey(run, journey)), "")


def weeks_of(gathered: Gathered, key: str) -> Weeks:
    """Compare the runs of one key in the time of the page with those of the time before it, of the same length.

    Runs that are not fit are left out. The other runs of the key give the run-to-run variation.
    """
    period = gathered.period
    length = period.end - period.start
    started = {run.run_id: time_of(run.started_at).timestamp() for run in gathered.runs}
    fit = [run for run in gathered.runs if not unfit_of(run)]
    ours = [run for run in fit if run.key.hash() == key]
    now = tuple(run for run in ours if period.start <= started[run.run_id])
    before = tuple(run for run in ours if period.start - length <= started[run.run_id] < period.start)
    word = "quarter" if period.is_quarter else "week"
    if not now:
        return Weeks(before, now, None, f"no valid run this {word}")
    if not before:
        others = [run for run in fit if period.start - length <= started[run.run_id] < period.start]
        if others:
            differs = "; ".join(now[0].key.differences(others[-1].key))
            return Weeks(before, now, None, f"not comparable: {one_line(differs, 120)}")
        return Weeks(before, now, None, f"no valid run the {word} before")
    try:
        found = compare(Side(f"the {word} before", before), Side(f"this {word}", now), history=ours)
    except UsageError as error:
        return Weeks(before, now, None, f"not comparable: {one_line(str(error), 120)}")
    return Weeks(before, now, found)


def week_cell(weeks: Weeks | None, journey: str, book: EvidenceBook) -> Shown:
    """Return the change of the p95 of a journey from the runs of the time before."""
    if weeks is None:
        return Shown("not measured")
    if weeks.compared is None:
        return Shown(weeks.why, "open" if weeks.now else "plain")
    rows = [row for row in weeks.compared.whole if row.name == journey and row.percentile == PERCENTILE]
    if not rows or rows[0].shift is None:
        return Shown("not measured")
    row = rows[0]
    shift = row.shift
    assert shift is not None
    is_known = shift.is_known
    change = Change(
        shift.change, shift.low if is_known else nan, shift.high if is_known else nan, len(weeks.now), row.is_clear
    )
    kind = certainty_of(change)
    tone: Tone = _TONES.get(kind, "plain") if kind != "certain" else "bad" if change.change > 0 else "good"
    before, now = (tuple(run for run in side if has_journey(run, journey)) for side in (weeks.before, weeks.now))
    says = f"{journey}: {PERCENTILE} {row.base_ms:.4g} ms in {quantity(len(before), 'run')} before,"
    says += f" {row.new_ms:.4g} ms in {quantity(len(now), 'run')} now: {worded(change)}"
    id_ = book.add(
        "runs",
        says,
        f"change = {row.new_ms:.6g} / {row.base_ms:.6g} - 1 = {shift.change:.6g}; each figure is the geometric mean of"
        f" the runs; the 95 % interval is that of the means of their logarithms (t test, {shift.df:.1f} degrees of"
        f" freedom, variation from {shift.basis})",
        (
            ("journey", journey),
            ("percentile", PERCENTILE),
            ("change", f"{shift.change:.6g}"),
            ("low", f"{change.low:.6g}"),
            ("high", f"{change.high:.6g}"),
            ("runs before", str(len(before))),
            ("runs now", str(len(now))),
        ),
        run_ids=tuple(run.run_id for run in (*before, *now)),
        see=f"loadgen compare {before[-1].run_id} {now[-1].run_id}" if before and now else "",
    )
    low, high = (None if end != end else round(end, 6) for end in (change.low, change.high))
    return Shown(worded(change), tone, round(change.change, 6), low, high, "change", len(now), evidence=(id_,))


def newest_verdict(gathered: Gathered, journey: str) -> Verdict | None:
    """Return the newest verdict on runs that have a journey and began before the end of the page's time."""
    ours = {run.run_id for run in gathered.runs if has_journey(run, journey)}
    found = [one for one in gathered.verdicts if ours.intersection(one.event.run_ids)]
    return max(found, key=lambda one: one.at, default=None)


def gate_cell(gathered: Gathered, journey: str, book: EvidenceBook) -> Shown:
    """Return the newest verdict of the gate on runs with this journey, and how old it is if it is not of this time."""
    verdict = newest_verdict(gathered, journey)
    if verdict is None:
        return Shown("no verdict")
    details = verdict.event.details
    outcome = one_line(details.get("outcome", ""), 20) or "unknown"
    names = _names(details.get("names", ""))
    here = [name for name in names if name == journey or name.startswith(f"{journey} > ")]
    tone, text = _OUTCOMES.get(outcome, "open"), outcome
    if outcome == "FAIL" and names and not here:
        tone, text = "plain", f"FAIL at {one_line(names[0].split(' > ')[0], 40)}"
    if verdict.event.because:
        text += ", accepted"
    age = (gathered.at - verdict.at) // 86_400
    if gathered.at - verdict.at > _FRESH_S:
        text, tone = f"{text}, {quantity(age, 'day')} old", "open" if tone == "good" else tone
    says = f"the gate's verdict on {quantity(len(verdict.event.run_ids), 'run')}: {outcome}"
    says += f", {one_line(details['reasons'], 300)}" if details.get("reasons") else ""
    inputs = [
        ("outcome", outcome),
        ("names that failed", ", ".join(one_line(name, 80) for name in names) or "none"),
        ("smallest slow-down that it finds", _share(details.get("detectable", ""))),
        ("accepted runs that it compared with", one_line(details.get("history", ""), 20)),
        ("at", verdict.event.at),
    ]
    if verdict.event.because:
        inputs.append(("accepted because", one_line(verdict.event.because, 300)))
    id_ = book.add(
        "gate",
        says,
        f"the gate compares {one_line(details.get('percentile', PERCENTILE), 10)} of each name with accepted runs"
        " of the same key",
        tuple(inputs),
        run_ids=verdict.event.run_ids,
        see=f"loadgen gate {' '.join(verdict.event.run_ids)}",
        id_=verdict.id,
    )
    return Shown(text, tone, count=len(verdict.event.run_ids), unit="runs", evidence=(id_,))


def _names(text: str) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [str(one) for one in found] if isinstance(found, list) else []


def _share(text: str) -> str:
    try:
        return format_share(float(text))
    except (ValueError, OverflowError):
        return "unknown"
