"""The result of a gate as text: a headline, tables, and with `--explain` each step of the decision."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from statistics import median
from typing import Final

from loadgen.analysis.error_ratio_gate import LEAST_EXCESS, RatioEffect
from loadgen.analysis.gate import Effect, Outcome
from loadgen.history.gate.evaluate_gate import DECIDING
from loadgen.history.gate.gate_result import Decision, Family, Verdict
from loadgen.history.gate.hypothesis_families import HISTORY
from loadgen.report.report_tables import Report, Table
from loadgen.units import format_change, format_changes, format_share

__all__ = ["error_table", "explained", "headline", "report_of"]

_STYLES: Final = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.INVALID: "invalid",
}
_FIRST: Final = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)


def headline(decision: Decision) -> str:
    """Return the verdict in one line, with its reason and the smallest effect that would have been detected."""
    return f"{decision.verdict}: {_because(decision)}. {found_from(decision)}"


def _because(decision: Decision) -> str:
    n = len(decision.compared)
    match decision.verdict:
        case Verdict.PASS:
            return f"none of {n} names is slower" if n != 1 else "nothing is slower"
        case Verdict.INVALID:
            return "not every run is valid"
        case Verdict.FAIL:
            failed = len(decision.failed_names)
            return "1 name is slower or fails more" if failed == 1 else f"{failed} names are slower or fail more"
        case Verdict.INCONCLUSIVE:
            return "suspect" if decision.is_suspect else "it cannot be decided"


def found_from(decision: Decision) -> str:
    """Return a sentence that states the smallest slow-down which the gate would have detected, for any verdict."""
    known = [one.detectable for one in decision.compared]
    if not known:
        return "No effect could have been detected."
    most, usual = max(known), median(known)
    at = f"Minimum detectable effect {format_share(most)}" if most != float("inf") else "One name could not fail at all"
    return f"{at}." if len(known) == 1 else f"{at}, half of the names {format_share(usual)}."


def report_of(decision: Decision, most_rows: int | None) -> Report:
    """Return the whole report of a decision, ready to print. most_rows: the most names per table; None: all."""
    lines = [*decision.reasons, *(f"warning: {one}" for one in decision.warnings)]
    tables = [_family_table(decision, family, most_rows) for family in decision.families]
    errors = error_table(decision)
    return Report(
        headline(decision),
        _STYLES[decision.verdict],
        tuple(lines),
        (*tables, *((errors,) if errors.rows else ())),
        tuple(f"note: {one}" for one in decision.notes),
    )


def _title_of(decision: Decision, family: Family) -> str:
    """Return the title of a baseline's table: "p95 of 3 runs against 12 accepted runs"."""
    new = len(decision.new)
    runs = "1 run" if new == 1 else f"{new} runs"
    old = len(family.run_ids)
    accepted = "1 run" if old == 1 else f"{old} runs"
    against = {HISTORY: f"{old} accepted runs", "A": f"{accepted} of A, pair by pair"}.get(
        family.against, f"{family.against} ({accepted})"
    )
    return f"{decision.settings.percentile} of {runs} against {against}"


def _family_table(decision: Decision, family: Family, most_rows: int | None = None) -> Table:
    """Return the table that compares the runs with one baseline, with a row per name, failed ones first.

    most_rows: None for all.
    """
    names = sorted(family.judgement.names, key=lambda one: (_FIRST.index(one.outcome), -_or_zero(one.change)))
    shown = names if most_rows is None else names[:most_rows]
    more = len(names) - len(shown)
    return Table(
        _title_of(decision, family),
        ("name", f"{decision.settings.percentile}", "change", "95 %", "p", "detectable", "runs", "verdict"),
        tuple(_row(decision, one) for one in shown),
        note=f"{more} more names are in --json" if more else "",
    )


def error_table(decision: Decision) -> Table:
    """Return the table of error ratios before and now, with the names that have errors in the old or the new runs."""
    found = [one for one in decision.errors if one.before or one.after]
    return Table(
        "errors",
        ("name", "before", "now", "95 % of the difference", "p", "verdict"),
        tuple(_error_row(one) for one in sorted(found, key=lambda one: -one.excess)),
    )


def explained(decision: Decision) -> Iterator[str]:
    """Yield sentences that explain the decision step by step, with its figures."""
    settings = decision.settings
    if decision.verdict is Verdict.INVALID:
        yield "Validity comes first: the figures of an invalid run are not judged."
        yield from (f"{reason}." for reason in decision.reasons)
        return
    yield f"All {len(decision.new)} new runs are valid." if len(decision.new) > 1 else "The run is valid."
    for family in decision.families:
        yield f"{_title_of(decision, family)}: {_tested(family)}"
        for one in family.judgement.names:
            yield f"  {one.name}: {_of_effect(one, family)}"
    if not decision.families:
        yield "Nothing could be compared."
    if len(decision.new) < DECIDING and decision.families:
        yield (
            f"With fewer than {DECIDING} new runs no latency can fail, since one run in thirty is an outlier:"
            " a slower name is suspect, and more runs decide."
        )
    judged = [one for one in decision.errors if one.before or one.after]
    yield (
        f"Errors of {len(decision.errors)} names: {len(judged)} have some. A name fails if its excess of errors is"
        f" certain across runs, and at least {format_share(LEAST_EXCESS)} of its requests."
    )
    for error in judged:
        before, after = format_share(error.before), format_share(error.after)
        yield f"  {error.name}: {before} before, {after} now, p {error.p_adjusted:.2g}."
    slow = [one for one in decision.secondary if one.outcome is Outcome.FAIL]
    yield (
        f"The {len(decision.secondary)} other percentiles form a family of their own and only warn:"
        f" {len(slow)} are slower."
    )
    yield from (f"Warning: {one}." for one in decision.warnings)
    yield from (f"Note: {one}." for one in decision.notes)
    yield (
        f"The verdict is {decision.verdict}: {_rule(decision)} A change of up to {format_share(settings.delta)} is"
        f" never a regression, and a PASS may overlook at most {format_share(settings.tolerate)}."
    )


def _tested(family: Family) -> str:
    judgement = family.judgement
    tested = sum(1 for one in judgement.names if one.history and one.new)
    return (
        f"{tested} names were tested together (Holm), with a chance of {format_share(judgement.alpha)} of a false alarm"
        " among all of them."
    )


def _of_effect(one: Effect, family: Family) -> str:
    if not (one.history and one.new) or not isfinite(one.change):
        return f"{one.outcome}: {one.reason}."
    text = (
        f"{format_change(one.change)} ({format_changes(one.low, one.high)}), p {one.p:.2g}, after Holm"
        f" {one.p_adjusted:.2g}; {format_share(one.detectable)} would have been found in 9 of 10 cases: {one.outcome}"
    )
    if one.outcome is Outcome.FAIL:
        return f"{text}, above {format_share(family.judgement.delta)} and below {family.judgement.alpha:g}."
    return f"{text}{f', since {one.reason}' if one.reason else ''}."


def _rule(decision: Decision) -> str:
    match decision.verdict:
        case Verdict.FAIL:
            return "one name that fails is enough, and nothing outranks it."
        case Verdict.INCONCLUSIVE:
            return "nothing fails, but these runs are not enough for a PASS."
        case _:
            return "nothing fails, and every larger slow-down than tolerated would have been detected."


def _row(decision: Decision, one: Effect) -> tuple[str, ...]:
    figures = [run.figure(one.name, decision.settings.percentile) for run in decision.new]
    values = [figure.value_ms for figure in figures if figure is not None]
    value = _ms(median(values)) if values else "-"
    if not isfinite(one.change):
        return (one.name, value, "-", "-", "-", "-", f"{one.history}, {one.new}", str(one.outcome))
    return (
        one.name,
        value,
        format_change(one.change),
        format_changes(one.low, one.high),
        f"{one.p_adjusted:.2g}",
        format_share(one.detectable),
        f"{one.history}, {one.new}",
        str(one.outcome),
    )


def _error_row(one: RatioEffect) -> tuple[str, ...]:
    interval = f"{one.low * 100:+.2f} to {one.high * 100:+.2f} points"
    verdict = "FAIL" if one.has_failed else "PASS"
    return (one.name, format_share(one.before), format_share(one.after), interval, f"{one.p_adjusted:.2g}", verdict)


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def _or_zero(value: float) -> float:
    return value if isfinite(value) else 0.0
