"""Computes evidence again, from what the history has now.

    Recomputer(place, store).again(entry)     # Again("same", "the ledger as of ... gives the same 1,190 of 1,200")

The counts of a promise are read again with the revisions that were known when the page was made, and once more with
today's. The first must give the same counts. The second may differ, because late and corrected counts are new
revisions: a note shows the change, and it is no error. The sums of this module are its own. It shares only the reader
of the ledger with the code that made the page, so a fault in the page's sums or in these shows.

Changes between runs and counts of A/A controls are computed again from the history (recompute_runs.py). Other evidence
is not computed again: its entry is compared with the stored runs, or with the verdict, recommendation or study that has
its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted, Event
from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.evidence.recompute_runs import change_again, controls_again, has_change, has_controls
from loadgen.programme.ledger.exclusions import Exclusion, exclusions
from loadgen.programme.ledger.ledger import FOLDER, Counts, Ledger, Reading
from loadgen.programme.ledger.slices import ALL_KEPT_PPM, DEFAULT_WIDTH_S, Slice
from loadgen.units import format_count, quantity

__all__ = ["Again", "Computed", "Recomputer", "compared"]

Computed = Literal["same", "differs", "unreadable", "not computed"]
_NEEDED: Final = ("slo", "from", "to", "method", "target", "good", "total")
_CLOSE: Final = Fraction(1, 10**9)
"""Sums of ratios were added as floats, whose last digits depend on the order."""
_OF_A_PAGE: Final = re.compile(r"[SRHAF]-[0-9a-f]{8}")
_LONGEST_S: Final = 3 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class Again:
    """The result of computing again. says: a sentence without a full stop. notes: what has changed since, for people.

    state: "unreadable" if files cannot be read that may have counts; "not computed" if there is nothing to compute.
    """

    state: Computed
    says: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The inputs of an entry of slices, checked."""

    slo: str
    start: int
    end: int
    as_of: str
    method: str
    good: Fraction
    total: Fraction
    slice_s: int
    slice_target: Fraction
    interval: tuple[Fraction, Fraction] | None = None
    """The interval of estimated requests on the page, 0 to 1; None: exact counts, or a method that counts slices."""


class Recomputer:
    """Computes many entries again with few readings: the pages of a week ask for the same time again and again."""

    def __init__(self, place: Place, store: Store) -> None:
        self._place, self._store, self._ledger = place, store, Ledger(place)
        self._readings: dict[tuple[int, int, str], Reading] = {}
        self._runs: dict[str, Accepted] = {}
        self._exclusions: dict[str, tuple[tuple[Exclusion, ...], tuple[str, ...]]] = {}

    def again(self, entry: EvidenceEntry, on_page: EvidenceEntry | None = None) -> Again:
        """Compute the evidence again, or compare it with the history.

        entry: of a recorded page, or of the history. on_page: for a number of the history, the entry of the newest page
        that has it.

        Raises:
            StorageError, CloudError: the history cannot be read.
        """
        if entry.kind == "slices":
            return self._slices(entry)
        notes = self._runs_since(entry)
        if on_page is not None:
            found = compared(entry, on_page)
            return Again(found.state, found.says, (*found.notes, *notes))
        if has_change(entry):
            return self._judged(*change_again(entry, self._runs_of(entry.run_ids)), notes)
        if has_controls(entry):
            return self._judged(*controls_again(entry, self._controls), notes)
        says = "the page recorded it so" if _OF_A_PAGE.fullmatch(entry.id) else "it is in the history as shown"
        return Again("not computed", says, notes)

    # -- within -----------------------------------------------------------------------------------

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(self._place.names(FOLDER))

    @cached_property
    def _known_runs(self) -> tuple[frozenset[str], dict[str, Event]]:
        return frozenset(self._store.referred()), self._store.struck()

    @cached_property
    def _controls(self) -> list[Event]:
        return self._store.events(CONTROL)

    def _runs_of(self, run_ids: Sequence[str]) -> dict[str, Accepted]:
        wanted = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._runs]
        known = [run_id for run_id in wanted if run_id in self._known_runs[0]]
        self._runs |= {run.run_id: run for run in self._store.get(known, is_whole=False)} if known else {}
        return self._runs

    def _judged(self, is_same: bool | None, says: str, notes: tuple[str, ...]) -> Again:
        """Return a result. If a file cannot be read, it may be the reason why the figures do not come out."""
        if is_same:
            return Again("same", says, notes)
        if self._store.unreadable:
            return Again("unreadable", says, notes)
        return Again("differs" if is_same is False else "not computed", says, notes)

    def _read(self, asked: _Asked, as_of: str) -> Reading:
        key = (asked.start, asked.end, as_of)
        if key not in self._readings:
            everything = None if not as_of else self._read(asked, "")
            if everything is not None and all(_seconds(one.at) < _seconds(as_of) for one in everything.revisions):
                self._readings[key] = everything  # nothing is newer, so the readings are equal
            else:
                self._readings[key] = self._ledger.read(*key)
        return self._readings[key]

    def _excluded(self, as_of: str) -> tuple[tuple[Exclusion, ...], tuple[str, ...]]:
        if as_of not in self._exclusions:
            self._exclusions[as_of] = exclusions(self._place, as_of)
        return self._exclusions[as_of]

    def _slices(self, entry: EvidenceEntry) -> Again:
        try:
            asked = _asked(entry)
        except ValueError as error:
            return Again("not computed", f"it cannot be computed again: {error}")
        excluded, troubles = self._excluded(asked.as_of)
        then, now = self._read(asked, asked.as_of), self._read(asked, "")
        good, total = _counts(then, asked, excluded)
        shown = f"{_number(good)} of {_number(total)}"
        known = f"as of {asked.as_of}" if asked.as_of else "with all revisions"
        left_out = (*then.unreadable, *troubles)
        is_equal = abs(good - asked.good) <= _CLOSE * max(Fraction(1), asked.good) and total == asked.total
        if gone := [name for name in entry.revisions if _file_of(name) not in self._files]:
            listed = one_line(", ".join(gone[:3]), 200)
            return Again("differs", f"the ledger no longer has {listed}, which the page used", left_out)
        if is_equal and asked.interval and (interval := _interval(then, asked, excluded)):
            is_equal = all(abs(one - other) <= _CLOSE for one, other in zip(interval, asked.interval, strict=True))
            if not is_equal:
                low, high = (f"{float(one):.9f}" for one in interval)
                return Again("differs", f"the ledger {known} gives an interval from {low} to {high}", left_out)
        if is_equal:
            news = _excluded_since(set(self._excluded("")[0]) - set(excluded), asked)
            changes = _changes(then, now, asked, excluded)
            return Again("same", f"the ledger {known} gives the same {shown}", (*changes, *news, *left_out))
        page = f"the page has {_number(asked.good)} of {_number(asked.total)}"
        state: Computed = "unreadable" if left_out else "differs"
        return Again(state, f"the ledger {known} gives {shown}, and {page}", left_out)

    def _runs_since(self, entry: EvidenceEntry) -> tuple[str, ...]:
        """Say which runs of the entry are not accepted, or were struck since."""
        if not entry.run_ids:
            return ()
        known, struck = self._known_runs
        gone = [(run_id, struck[run_id]) for run_id in entry.run_ids if run_id in struck]
        notes = [
            one_line(f"{run_id} was struck by {event.by or 'somebody'}: {event.because}", 300) for run_id, event in gone
        ]
        if absent := [run_id for run_id in entry.run_ids if run_id not in known]:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            notes.append(f"not among the accepted runs: {one_line(', '.join(absent[:3]), 200)}{more}")
        return tuple(notes)


def compared(now: EvidenceEntry, on_page: EvidenceEntry) -> Again:
    """Compare an entry of the history with the one that a page recorded for the same id.

    Words may differ from version to version, runs and kind may not.
    """
    if now.kind != on_page.kind or (on_page.run_ids and set(on_page.run_ids) != set(now.run_ids)):
        runs = ", ".join(on_page.run_ids[:3]) or "no runs"
        return Again("differs", f"the page meant another {on_page.kind} with this id: that of {one_line(runs, 200)}")
    return Again("same", "the history has what the page shows")


def _asked(entry: EvidenceEntry) -> _Asked:
    """Return the inputs of an entry.

    Raises:
        ValueError: some are missing or invalid; the message names them.
    """
    inputs: Mapping[str, str] = dict(entry.inputs)
    if missing := [name for name in _NEEDED if not inputs.get(name)]:
        raise ValueError(f"it has no {', '.join(missing)}")
    start, end = (_seconds(inputs[name]) for name in ("from", "to"))
    if not 0 < end - start <= _LONGEST_S:
        raise ValueError("its time is empty or longer than 3 years")
    if inputs.get("as_of"):
        _seconds(inputs["as_of"])
    method = inputs["method"]
    if method not in ("Occurrences", "Timeslices", "RatioTimeslices"):
        raise ValueError(f'its method "{one_line(method, 40)}" is unknown')
    if method == "Timeslices" and not inputs.get("slice_target"):
        raise ValueError("it has no slice_target")
    return _Asked(
        inputs["slo"],
        start,
        end,
        inputs.get("as_of", ""),
        method,
        _fraction(inputs["good"]),
        _fraction(inputs["total"]),
        int(_fraction(inputs.get("slice_s") or str(DEFAULT_WIDTH_S))),
        _fraction(inputs.get("slice_target") or "1"),
        (_fraction(inputs["low"]), _fraction(inputs["high"]))
        if method == "Occurrences" and inputs.get("low") and inputs.get("high")
        else None,
    )


def _seconds(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{one_line(text, 40)}" is not a time') from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _fraction(text: str) -> Fraction:
    try:
        # `Fraction` of a long exponent would take minutes.
        found = Fraction(text) if len(text) <= 40 and "e" not in text.lower() else Fraction(float(text))
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f'"{one_line(text, 40)}" is not a number') from None
    if found < 0:
        raise ValueError(f'"{one_line(text, 40)}" is negative')
    return found


def _counts(reading: Reading, asked: _Asked, excluded: Sequence[Exclusion]) -> tuple[Fraction, Fraction]:
    """Return (good, total) in the units of the method, without the excluded slices."""
    found = reading.by_slo.get(asked.slo)
    if found is None:
        return Fraction(0), Fraction(0)
    is_out = _is_out(found, asked.slo, excluded)
    if asked.method == "Occurrences":
        return Fraction(int(found.good[~is_out].sum())), Fraction(int(found.total[~is_out].sum()))
    sums: dict[int, tuple[int, int]] = {}
    slots = (found.start // max(asked.slice_s, 1)).tolist()
    for slot, good, total in zip(slots, found.good.tolist(), found.total.tolist(), strict=True):
        before = sums.get(slot, (0, 0))
        sums[slot] = (before[0] + good, before[1] + total)
    without = {slot for slot, is_excluded in zip(slots, is_out.tolist(), strict=True) if is_excluded}
    ratios = [Fraction(good, total) for slot, (good, total) in sums.items() if total and slot not in without]
    if asked.method == "Timeslices":
        return Fraction(sum(one >= asked.slice_target for one in ratios)), Fraction(len(ratios))
    return sum(ratios, Fraction(0)), Fraction(len(ratios))


def _interval(reading: Reading, asked: _Asked, excluded: Sequence[Exclusion]) -> tuple[Fraction, Fraction] | None:
    """Return the interval of interpolated requests: the sums of their bounds, over all. None: some are sampled, whose
    interval is not a sum.
    """
    found = reading.by_slo.get(asked.slo)
    if found is None:
        return None
    is_in = ~_is_out(found, asked.slo, excluded)
    errors, total = found.stated.chosen(is_in), int(found.total[is_in].sum())
    if not total or (errors.kept_ppm != ALL_KEPT_PPM).any():
        return None
    return Fraction(int(errors.low.sum()), total), Fraction(int(errors.high.sum()), total)


def _is_out(found: Counts, slo: str, excluded: Sequence[Exclusion]) -> NDArray[np.bool_]:
    """Return which slices are excluded, shape (slices,)."""
    is_out = np.zeros(len(found), np.bool_)
    for out in excluded:
        if not out.slos or slo in out.slos:
            is_out |= (found.start < out.end) & (found.start + found.width > out.start)
    return is_out


def _file_of(revision: str) -> str:
    """Return the name of the file of a revision such as "2026-07-20/prod-3"."""
    return f"{FOLDER}day={revision}.parquet"


def _changes(then: Reading, now: Reading, asked: _Asked, excluded: Sequence[Exclusion]) -> tuple[str, ...]:
    """Return a sentence about the slices that later revisions changed; () if nothing changed."""
    if then is now or then.revisions == now.revisions:
        return ()
    before = {one.key: one for one in then.slices(asked.slo)}
    after = {one.key: one for one in now.slices(asked.slo)}
    changed = [key for key, one in after.items() if _content(before.get(key)) != _content(one)]
    if not changed:
        return ()
    known = {one.name for one in then.revisions}
    keys = set(changed)
    numbers = now.by_slo[asked.slo].revision.tolist()
    used = dict.fromkeys(n for n, one in zip(numbers, now.slices(asked.slo), strict=True) if one.key in keys)
    news = [now.revisions[n] for n in used if now.revisions[n].name not in known]
    because = "; ".join(f"{one.name} ({one_line(one.because, 100) or 'no reason'})" for one in news[:3])
    more = f" and {len(news) - 3} more" if len(news) > 3 else ""
    good, total = _counts(now, asked, excluded)
    return (
        f"since then, {quantity(len(changed), 'slice')} changed by {because}{more}:"
        f" today it would be {_number(good)} of {_number(total)}",
    )


def _content(one: Slice | None) -> tuple[int | bool, ...] | None:
    return None if one is None else (one.good, one.total, one.missing_s, one.estimated, one.low, one.high, one.kept_ppm)


def _excluded_since(since: Iterable[Exclusion], asked: _Asked) -> tuple[str, ...]:
    found = sorted(since, key=lambda one: (one.at, one.start))
    about = [one for one in found if one.start < asked.end and one.end > asked.start]
    about = [one for one in about if not one.slos or asked.slo in one.slos]
    return tuple(f"a part of it was excluded later by {one.by or 'somebody'}: {one.because}" for one in about[:3])


def _number(value: Fraction) -> str:
    return format_count(int(value)) if value.denominator == 1 else f"{float(value):.6f}"
