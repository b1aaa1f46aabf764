"""Write the first lines of a report for management: a title, an owner, and the result in one sentence without jargon.

Title and owner come from the caller (`loadgen report --title`), else from the plan, else
from `[report]` of `loadgen.toml`. Numbers in the sentence are those of the summary;
nothing is computed here but the share that a percentile stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from loadgen.report.report_tables import observed_text
from loadgen.report.summary_reader import Found, Slo, Summary
from loadgen.report.verdict_words import NO_VERDICT
from loadgen.units import NS_PER_MS, NS_PER_S, format_count, format_duration, format_rate, format_ratio, quantity

__all__ = ["NO_COVER", "TITLE_LABEL", "Cover", "cover_of", "plain_sentence"]

TITLE_LABEL: Final = "title"
"""The label of a plan that is the title of its reports."""
_BUSY: Final = ", but the load generator was busy at times, so repeat the run"


@dataclass(frozen=True, slots=True)
class Cover:
    """The title and the owner of a report; "" where nothing is known."""

    title: str = ""
    owner: str = ""


NO_COVER: Final = Cover()


def cover_of(
    *,
    scenario: str,
    plan: str,
    doc: str = "",
    owner: str = "",
    labels: Mapping[str, str] | None = None,
    given: Cover | None = None,
    default: Cover | None = None,
) -> Cover:
    """Return the title and the owner of a report.

    The title is the first of: `given`, the plan's label "title", `default`, the first line of the scenario's docstring,
    the scenario's file name. A plan that is not named "plan" is appended to the last two. The owner is the first of:
    `given`, the plan's owner, `default`.

    Args:
        doc: the first line of the scenario's docstring.
        given: from the command line; default: from `loadgen.toml`.
    """
    given, default = given or NO_COVER, default or NO_COVER
    own = doc.strip().rstrip(".") or scenario
    named = f"{own} ({plan})" if plan and plan != "plan" else own
    return Cover(
        given.title or (labels or {}).get(TITLE_LABEL, "") or default.title or named,
        given.owner or owner or default.owner,
    )


def plain_sentence(summary: Summary) -> str:
    """Return the result of a run as one sentence for a reader who does not know load tests."""
    sentence = _by_result(summary)
    is_judged = summary.result in ("passed", "failed")
    return f"{sentence}{_BUSY if is_judged and summary.validity.verdict == 'suspect' else ''}."


def _by_result(summary: Summary) -> str:
    length = format_duration(summary.duration_s * NS_PER_S)
    match summary.result:
        case "invalid":
            return "The load generator could not measure, so do not judge the target by this run"
        case "incomplete" if all(agent.complete for agent in summary.agents):
            return "The results do not decide whether the target met its limits, so make a longer run"
        case "incomplete":
            return "A part of the measurements is missing, so the run neither passed nor failed"
        case "interrupted":
            return f"The run was stopped after {length}, so it neither passed nor failed"
        case "error":
            return NO_VERDICT
    if found := _found(summary.steering):
        return found
    if summary.result == "failed":
        return _failed(summary)
    return _passed(summary) if summary.slos else f"The run ended as planned; its plan sets no limits{_errors(summary)}"


def _found(steering: tuple[Found, ...]) -> str:
    """Return the sentence about the first steered load that found its limit or its highest rate; "" without one."""
    for one in steering:
        if one.rate_per_s is None:
            continue
        rate = format_rate(one.rate_per_s)
        if one.verdict == "found":
            return f"The target kept its limits up to a load of {rate}, and not above"
        if one.verdict == "not reached":
            return f"The target kept its limits up to a load of {rate}, the highest that was tried"
    return ""


def _passed(summary: Summary) -> str:
    times = [slo for slo in summary.slos if slo.limit_ms is not None and not slo.detail]
    whole = next((slo for slo in times if slo.window_s is None and isinstance(slo.observed, int | float)), None)
    if whole is not None:
        took = format_duration(float(whole.observed or 0) * NS_PER_MS)
        within = f"{_share(whole)} {_things(whole)} took at most {took}, and {_limit(whole)} is the limit"
        return f"The target was fast enough: {within}{_errors(summary)}"
    met = "its limit" if len(summary.slos) == 1 else f"all of its {format_count(len(summary.slos))} limits"
    return f"The target kept {met}{_errors(summary)}"


def _failed(summary: Summary) -> str:
    broken = [slo for slo in summary.slos if slo.verdict == "failed"]
    if not broken:
        return f"The run failed: {summary.reasons[0].rstrip('.')}" if summary.reasons else "The run failed"
    # A detail belongs to an objective on any other metric, such as a mean, a rate or a count of orders.
    slo = next((slo for slo in broken if not slo.detail), None)
    if slo is None:
        n = len(summary.slos)
        missed = "its limit" if n == 1 else f"{format_count(len(broken))} of its {quantity(n, 'limit')}"
        return f"The target did not keep {missed}{_errors(summary)}"
    more = f"; {quantity(len(broken) - 1, 'more limit')} failed" if len(broken) > 1 else ""
    when = f" in {format_count(slo.windows_failed)} of {quantity(slo.windows, 'period')}" if slo.window_s else ""
    if slo.limit_ms is not None:
        fewer = f"fewer than {_share(slo)} {_things(slo)} were done within {_limit(slo)}"
        return f"The target was too slow{when}: {fewer}{more}"
    observed = observed_text(slo.observed, "ratio")
    allowed = format_ratio(slo.allowed)
    return f"The target made too many errors{when}: {observed} of the {_things(slo)} failed, and {allowed} may{more}"


def _errors(summary: Summary) -> str:
    """Return "; 3 of 12,000 requests failed" or "; none of 5 requests failed"; "" without requests."""
    r = summary.requests
    if not r.finished:
        return ""
    return f"; {format_count(r.errors) if r.errors else 'none'} of {quantity(r.finished, 'request')} failed"


def _share(slo: Slo) -> str:
    """Return the share that a percentile stands for: "95 of 100", "999 of 1,000"."""
    good = 1 - Fraction(slo.allowed).limit_denominator(1_000_000)
    of = max(100, good.denominator)
    return f"{format_count(int(good * of))} of {format_count(of)}"


def _things(slo: Slo) -> str:
    if slo.request:
        return f"requests {slo.request}"
    if slo.step:
        return f"steps {slo.step}"
    return f"iterations of {slo.journey}" if slo.journey else "iterations"


def _limit(slo: Slo) -> str:
    """Return the time limit as it is written in a plan: "300 ms", "1.5 s"."""
    limit_ms = slo.limit_ms or 0.0
    return f"{limit_ms:g} ms" if limit_ms < 1000 else f"{limit_ms / 1000:g} s"
