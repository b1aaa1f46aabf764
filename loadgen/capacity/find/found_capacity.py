"""Decides what the searches and the confirmation of one target say together. Pure.

The rules, the first that fits:

    a search                             | result       | is there a number?
    was limited by the load generator    | invalid      | no
    never met the objective              | failed       | no
    met it at the highest allowed rate   | not decided  | "at least", and no capacity
    did not end, or did not decide       | not decided  | no; the others are repeats of a later command
    all found a rate, but too few did    | not decided  | no, likewise
    all found one, not confirmed         | not decided  | no
    all found one, confirmed or unasked  | decided      | rate and interval; plan with its lower end
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadgen.analysis.knees.combine_knees import CombinedKnee, SearchedKnee, combine_knees
from loadgen.capacity.find.finished_runs import HeldRun, SearchRun
from loadgen.studies.study import StudyResult
from loadgen.units import format_rate

__all__ = ["LEAST_REPEATS", "FoundCapacity", "combined_of", "judge_searches", "stops_series"]

LEAST_REPEATS = 3
"""Searches, each after a restart of the target, that a purchase needs."""


@dataclass(frozen=True, slots=True)
class FoundCapacity:
    """The answer. Rates are iterations/s."""

    result: StudyResult
    headline: str
    reasons: tuple[str, ...]
    """Further sentences: gaps and doubts of the answer."""
    combined: CombinedKnee | None
    """The combined rate of the searches that found one, whatever the result; None if no search found a rate."""
    at_least_per_s: float | None = None
    """The highest rate that was met, if no search reached the knee."""

    @property
    def capacity(self) -> CombinedKnee | None:
        """Return the capacity; None unless the result is "decided"."""
        return self.combined if self.result == "decided" else None


def stops_series(search: SearchRun) -> bool:
    """Return whether further searches are pointless after this one."""
    return search.end != "found"


def combined_of(searches: Iterable[SearchRun]) -> CombinedKnee | None:
    """Return the combined rate of the searches that found one; None if no search found a rate."""
    knees = [
        SearchedKnee(one.rate_per_s, one.low_per_s, one.high_per_s)
        for one in searches
        if one.is_found and one.rate_per_s is not None and one.low_per_s is not None and one.high_per_s is not None
    ]
    return combine_knees(knees) if knees else None


def judge_searches(
    searches: Sequence[SearchRun],
    wanted: int,
    *,
    is_confirmation_wanted: bool,
    held: HeldRun | None = None,
    is_restarted: bool = False,
    trouble: str = "",
) -> FoundCapacity:
    """Return the answer of the searches made so far.

    Args:
        searches: all searches, in order.
        wanted: how many searches were asked for.
        held: the confirmation, if there was one.
        is_restarted: whether the target was restarted between the searches.
        trouble: why the series ended before its end, as a sentence; "" if it did not.
    """
    combined = combined_of(searches)
    found = FoundCapacity("not decided", "", (), combined)
    texts = " and ".join(searches[0].objectives) if searches else "the objective"
    for end in ("generator was the limit", "never met", "not reached", "incomplete", "stopped", "not decided"):
        those = [one for one in searches if one.end == end]
        if those:
            return _without_number(found, texts, those, searches, wanted)
    if len(searches) < wanted or combined is None:
        headline = f"Not decided: {len(searches)} of {wanted} searches are complete"
        return _replaced(found, headline, (_sentence(trouble) if trouble else "",))
    if held is not None and held.is_confirmed is not True:
        return _unconfirmed(found, texts, held, combined)
    if is_confirmation_wanted and held is None:
        return _replaced(found, f"Not decided: {trouble or 'the confirmation is missing'}", ())
    confirmed = "without confirmation" if held is None else f"held for {held.seconds / 60:.3g} min"
    headline = (
        f"Plan with {format_rate(combined.low_per_s)}: {texts} holds up to {format_rate(combined.rate_per_s)}"
        f" ({_interval(combined)}; {_searches(combined.repeats)}, {confirmed})"
    )
    return FoundCapacity("decided", headline, tuple(_cautions(combined, held, is_restarted)), combined)


def _without_number(
    found: FoundCapacity, texts: str, those: Sequence[SearchRun], searches: Sequence[SearchRun], wanted: int
) -> FoundCapacity:
    """Return the answer if at least one search did not find a rate. those: the searches with the deciding end."""
    first = those[0]
    whose = "" if wanted == 1 else f"search {searches.index(first) + 1} of {wanted}: "
    others = sum(one.is_found for one in searches)
    kept = (f"{_searches(others)} found a rate, and can be used again with --from.",) if others else ()
    match first.end:
        case "generator was the limit":
            headline = "No capacity: the load generator was the limit, and not the target"
            hint = "Add agents or workers, or close other programs; the target was not loaded to its limit."
            return _replaced(found, headline, (f"{_sentence(whose + first.why)}", hint, *kept), "invalid")
        case "never met":
            headline = f"No capacity: {texts} is never met"
            hint = "Look at the errors at the lowest rate first."
            return _replaced(found, headline, (_sentence(whose + first.why), hint, *kept), "failed")
        case "not reached":
            least = min(one.low_per_s or one.upto_per_s for one in searches if one.end in ("found", "not reached"))
            headline = f"Not reached: the capacity for {texts} is at least {format_rate(least)}"
            hint = "Raise the second rate of --between until the objective breaks; a bound is not a capacity."
            return _replaced(found, headline, (_sentence(whose + first.why), hint, *kept), least_per_s=least)
    headline = f"Not decided: {whose}{first.why.removeprefix('not decided: ').rstrip('.')}"
    hint = "Let the search run longer (--duration 4h), or raise --tolerance." if first.end == "not decided" else ""
    return _replaced(found, headline, (hint, *kept))


def _unconfirmed(found: FoundCapacity, texts: str, held: HeldRun, combined: CombinedKnee) -> FoundCapacity:
    at = format_rate(held.rate_per_s)
    what = f"{_searches(combined.repeats)} found {format_rate(combined.rate_per_s)} ({_interval(combined)})."
    if held.is_confirmed is False:
        headline = f"Not confirmed: {texts} did not hold for {held.seconds / 60:.3g} min at {at}"
        hint = "The target is slower under a long load than in a search: look for what grows with time, such as memory."
        return _replaced(found, headline, (_sentence(held.why), what, hint))
    return _replaced(found, f"Not decided: {held.why.rstrip('.')}", (what,))


def _cautions(combined: CombinedKnee, held: HeldRun | None, is_restarted: bool) -> Iterable[str]:
    if combined.between_sd is not None and combined.excess_sd is not None:
        explained = "more than" if combined.excess_sd > 0 else "no more than"
        yield (
            f"The searches differ by {combined.between_sd * 100:.2g} % (standard deviation), {explained} their own"
            f" errors of {combined.within_sd * 100:.2g} % explain. The interval contains both."
        )
    if combined.repeats < LEAST_REPEATS:
        few = "One search is one condition" if combined.repeats == 1 else "Two searches are two conditions"
        yield f"{few} of the target: make at least {LEAST_REPEATS} with --restart before a purchase."
    elif not is_restarted:
        yield (
            f"The target was not restarted between the searches, so they share one condition of it: make at least"
            f" {LEAST_REPEATS} with --restart before a purchase."
        )
    if combined.half_width > _WIDE:
        wide = f"{combined.half_width * 100:.2g} %"
        yield f"The interval is wider than 5 % on either side: {wide}. More searches narrow it."
    if held is None:
        yield "This rate was not held for a longer time, because of --confirm 0."


_WIDE = 0.055
"""Half-width of an interval above which it is named, as a share: the goal of 5 %, and some room."""


def _replaced(
    found: FoundCapacity,
    headline: str,
    reasons: Iterable[str],
    result: StudyResult = "not decided",
    least_per_s: float | None = None,
) -> FoundCapacity:
    return FoundCapacity(result, headline, tuple(filter(None, reasons)), found.combined, least_per_s)


def _interval(combined: CombinedKnee) -> str:
    low, high = (format_rate(rate).removesuffix("/s") for rate in (combined.low_per_s, combined.high_per_s))
    return f"90 %: {low} to {high}"


def _searches(count: int) -> str:
    return "1 search" if count == 1 else f"{count} searches"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
