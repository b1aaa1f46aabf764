"""Write a run's result as sentences for the people who decide about a release.

The sentences cover what was tested, the verdict and its reasons, what the verdict
means, what it does not cover, and what to do next. Every number in them is in the
summary. This module computes no statistics. It leaves a sentence out if the summary
has no data for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from loadgen.report.limit_found import limit_found
from loadgen.report.report_tables import (
    WHY_NO_INTERVAL,
    bad_or_observed_text,
    bad_share_text,
    budget_text,
    interval_text,
    milliseconds,
    region_label,
)
from loadgen.report.slos import margin_text
from loadgen.report.summary_reader import Percentiles, Series, Slo, Summary
from loadgen.report.verdict_words import (
    NO_VERDICT,
    NOT_JUDGED,
    NOT_SURE,
    fitness_words,
    headline,
    is_of_objective,
    objective_verdict,
    shown_result,
)
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio, quantity

__all__ = ["Story", "story_of", "targets_in", "targets_of"]

FEW = 5
"""The longest list that a sentence shows; further names are only counted."""
SPENT = 0.8
"""From this share of its error budget on, a passed objective is mentioned as a near miss."""


@dataclass(frozen=True, slots=True)
class Story:
    """The sentences about one run, by topic.

    `next` holds suggestions; each one is a sentence, a colon and a command line.
    """

    result: str
    """The shown result, such as `passed` or `suspect`; it decides sign and colour."""
    headline: str
    tested: tuple[str, ...]
    objectives: tuple[str, ...]
    """One sentence per objective, in the order of the summary."""
    why: tuple[str, ...]
    """Reasons that the headline does not mention."""
    means: tuple[str, ...]
    """What the result means. The first `results` sentences only word the result; the others add to it."""
    results: int
    excludes: tuple[str, ...]
    next: tuple[str, ...]

    def as_words(self) -> dict[str, object]:
        """Return `sentences`, `means`, `excludes` and `next` for the verdict of the report document.

        `sentences` has everything for readers without the page. The page shows only `means`, which leaves out what
        its first lines, figures and tables show anyway.
        """
        return {
            "sentences": [*self.tested, *self.objectives, *self.means],
            "means": list(self.means[self.results :]),
            "excludes": list(self.excludes),
            "next": list(self.next[:-1]),  # the last command creates the report, which the reader already has
        }


def story_of(summary: Summary, run: str = "", targets: Sequence[str] = ()) -> Story:
    """Return the sentences about a run.

    Args:
        run: the name or path of the run in the suggested commands; default: its id.
        targets: URLs that were put under load, from `targets_of(manifest)`.
    """
    return Story(
        result=shown_result(summary),
        headline=headline(summary),
        tested=tuple(_tested(summary, targets)),
        objectives=tuple(_objective(slo, summary) for slo in summary.slos),
        why=tuple(_why(summary)),
        means=(*(result := tuple(_by_result(summary))), *_more_meaning(summary)),
        results=len(result),
        excludes=tuple(_excludes(summary)),
        next=tuple(_next(summary, run or quote(summary.run_id))),
    )


def targets_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the target URLs in a run manifest, without duplicates, the default target first."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        return ()
    several = spec.get("targets")
    return targets_in(spec.get("target"), several if isinstance(several, Mapping) else {})


def targets_in(target: object, targets: Mapping[str, object]) -> tuple[str, ...]:
    """Return the URLs of a plan's `target` and `targets` settings, without duplicates, the default target first."""
    return tuple(dict.fromkeys(url for url in (target, *targets.values()) if isinstance(url, str) and url))


# -- what was tested --------------------------------------------------------------------------------


def _tested(summary: Summary, targets: Sequence[str]) -> Iterator[str]:
    plan = f", plan {summary.plan}," if summary.plan not in ("", "plan") else ""
    against = f" against {_some(targets)}" if targets else ""
    if against and summary.llm is not None and summary.llm.model:
        against += f", model {summary.llm.model}" + ("," if summary.load.text else "")
    load = f" with the load {summary.load.text}" if summary.load.text else ""
    yield f"{summary.scenario}{plan} was run{against}{load}."
    regions = [region_label(name, summary.is_embedded) for name in dict.fromkeys(a.region for a in summary.agents)]
    if regions:
        from_where = f"{quantity(len(regions), 'region')}: {_some(regions)}"
        yield f"{quantity(len(summary.agents), 'agent')} generated the load from {from_where}."
    i, r = summary.iterations, summary.requests
    if i.due or r.started:
        began = f", starting at {summary.started_at}" if summary.started_at else ""
        were = "was" if i.due == 1 else "were"
        counts = f"{quantity(i.due, 'iteration')} {were} due, {format_count(i.finished)} finished"
        ratio = format_ratio(r.errors / r.finished) if r.finished else ""
        share = f", {format_count(r.errors)} of them with an error ({ratio})" if ratio else ""
        yield f"The run took {_length(summary.duration_s)}{began}."
        yield f"{counts}; {quantity(r.finished, 'request')} finished{share}."


# -- why --------------------------------------------------------------------------------------------


def _why(summary: Summary) -> Iterator[str]:
    shown = headline(summary)
    found = [one.text for one in summary.steering if one.text and limit_found(summary)]
    for reason in dict.fromkeys((*summary.reasons, *_doubts(summary))):
        if not is_of_objective(reason) and reason.rstrip(".") not in shown and reason not in found:
            yield _sentence(reason)


def _doubts(summary: Summary) -> tuple[str, ...]:
    """Return why the run is invalid or suspect; () for a valid run."""
    return () if summary.validity.verdict == "valid" else summary.validity.reasons


def _objective(slo: Slo, summary: Summary) -> str:
    """Return the sentence about one objective: verdict, observed value and count, margin, error budget and interval.

    For an objective over windows it names the worst window and the number of broken ones.
    """
    name = f"{slo.objective}{_of(slo)}"
    if slo.verdict == "inconclusive":
        seen = f"; observed: {_observed(slo)} ({format_count(slo.count)} due)" if slo.count else ""
        return f"{name} is inconclusive: {slo.reason.rstrip('.') or 'the data do not decide it'}{seen}."
    verdict = objective_verdict(slo, summary)
    if slo.detail:
        is_counted = verdict != NOT_JUDGED
        return f"{name} {verdict if is_counted else f'is {verdict}'}: {slo.detail}."
    parts = [f"observed {_observed(slo)} ({format_count(slo.count)} due)"]
    if slo.window_s is not None:
        broken = f"{format_count(slo.windows_failed)} of {quantity(slo.windows, 'window')} of {_length(slo.window_s)}"
        start = f", from {slo.worst_window_s:,.0f} s on," if slo.worst_window_s is not None else ""
        worst = f"in the worst window{start} {_observed(slo)} ({format_count(slo.count)} due)"
        parts = [f"{broken} broke the limit", worst]
    elif isinstance(slo.observed, str):
        parts.append("this percentile falls on iterations that did not end ok")
    elif margin := margin_text(slo):
        parts.append(margin if margin == "at the limit" else f"{margin} the limit")
    if slo.budget is not None:
        parts.append(f"{budget_text(slo.budget)} of its error budget is used")
    if slo.is_unsure and verdict != NOT_JUDGED:
        verdict += f" ({NOT_SURE})"
    if slo.low is not None and slo.high is not None:
        parts.append(f"95 % interval {interval_text(slo, summary)}")
    is_judged = verdict != NOT_JUDGED
    return f"{name} {verdict if is_judged else f'is {verdict}'}: {'; '.join(parts)}."


def _observed(slo: Slo) -> str:
    return bad_or_observed_text(slo)


def _of(slo: Slo) -> str:
    return f" of {slo.journey}" if slo.journey else ""


# -- what it means ----------------------------------------------------------------------------------


def _more_meaning(summary: Summary) -> Iterator[str]:
    """Yield what the figures mean beyond the result: near misses, the most frequent failure, the slowest request."""
    if summary.result != "invalid":
        yield from _near(summary)
    if summary.result in ("passed", "failed", "incomplete", "interrupted"):
        yield from _commonest_failure(summary)
        yield from _slowest(summary)


def _by_result(summary: Summary) -> Iterator[str]:
    """Yield the result in words."""
    n = len(summary.slos)
    broken = [s for s in summary.slos if s.verdict == "failed"]
    match summary.result:
        case "passed" if n:
            met = "its objective" if n == 1 else f"all {format_count(n)} objectives"
            yield f"Under this load the target met {met}."
        case "passed":
            yield (
                "The plan sets no objectives, so no figure was compared with a limit. PASSED only means that the run"
                " ended as planned."
            )
        case "failed" if broken:
            missed = "its objective" if n == 1 else f"{format_count(len(broken))} of {quantity(n, 'objective')}"
            yield f"Under this load the target did not meet {missed}."
        case "failed":
            yield "The run failed for the reasons above; no objective was broken."
        case "incomplete":
            missing = summary.missing_share
            share = f": the figures lack {format_ratio(missing)} of the planned load" if missing else ""
            yield f"The run neither passed nor failed{share}."
        case "invalid":
            yield (
                f"The load generator {fitness_words('invalid')}. The response times include its own delays, so do not"
                " judge the target by them."
            )
        case "interrupted":
            yield f"The run was stopped after {_length(summary.duration_s)}; the figures cover the time until then."
        case "error":
            n = summary.requests.finished
            them = "it" if n == 1 else "them"
            had = (
                f" {quantity(n, 'request')} finished before the error; do not judge the target by {them}." if n else ""
            )
            yield f"{NO_VERDICT}.{had}"
    if summary.validity.verdict == "suspect":
        yield (
            f"The load generator {fitness_words('suspect')} all of the time: the response times may include its"
            " own delays."
        )


def _near(summary: Summary) -> Iterator[str]:
    """Yield sentences about objectives so close to their limit that a repeated run could change the verdict."""
    for slo in summary.slos:
        limit = slo.limit if slo.limit is not None else slo.limit_ms if slo.unit == "ms" else slo.allowed
        ends = slo.low, limit, slo.high
        is_known = slo.window_s is None and all(isinstance(end, int | float) for end in ends)
        if is_known and float(slo.low or 0) <= float(limit or 0) <= float(slo.high or 0):
            yield (
                f"The limit of {slo.objective}{_of(slo)} lies within its 95 % interval, {interval_text(slo, summary)}:"
                " a repeated run may get the other verdict."
            )
        elif slo.verdict == "passed" and slo.budget is not None and slo.budget >= SPENT:
            yield f"{slo.objective}{_of(slo)} passed, but {budget_text(slo.budget)} of its error budget is used."
        elif slo.is_unsure:
            yield f"{slo.objective}{_of(slo)} {slo.verdict}, but this is {NOT_SURE}: {bad_share_text(slo)}."


def _commonest_failure(summary: Summary) -> Iterator[str]:
    """Yield the most frequent failure of requests or, if no request failed, of iterations."""
    for kind in ("request", "journey"):
        rows = [s for s in _everywhere(summary, kind) if s.outcome not in ("*", "ok", "skipped")]
        if not rows:
            continue
        most = max(rows, key=lambda s: s.count)
        same = (most.kind, most.journey, most.step, most.request)
        whole = [s for s in _everywhere(summary, kind, "*") if (s.kind, s.journey, s.step, s.request) == same]
        of = f" of {format_count(whole[0].count)}" if whole else ""
        yield f"The most frequent failure was {most.outcome} of {_name(most)}: {format_count(most.count)}{of}."
        return


def _slowest(summary: Summary) -> Iterator[str]:
    """Yield the request with the highest p95, if the run has several requests."""
    rows = [
        s for s in _everywhere(summary, "request", "*") if isinstance((s.response_ms or Percentiles()).p95, float | int)
    ]
    if len(rows) > 1:
        most = max(rows, key=lambda s: float((s.response_ms or Percentiles()).p95 or 0))
        p = most.response_ms or Percentiles()
        times = f"p50 {milliseconds(p.p50)} ms, p95 {milliseconds(p.p95)} ms, p99 {milliseconds(p.p99)} ms"
        yield f"The slowest request was {_name(most)}: {times} over {format_count(most.count)} requests."


def _everywhere(summary: Summary, kind: str, outcome: str | None = None) -> list[Series]:
    rows = [s for s in summary.series if s.region == "*" and s.kind == kind]
    return rows if outcome is None else [s for s in rows if s.outcome == outcome]


def _name(s: Series) -> str:
    return s.journey if s.kind == "journey" else " in ".join(filter(None, (s.request, s.step)))


# -- what the verdict leaves out ----------------------------------------------------------------------


def _excludes(summary: Summary) -> Iterator[str]:
    if summary.is_embedded and summary.agents:
        n = len({agent.region for agent in summary.agents})
        yield (
            f"{quantity(n, 'region')} {'is' if n == 1 else 'are'} simulated: {_all_agents(len(summary.agents))} on this"
            " machine, so no figure includes the network path from a real region to the target."
        )
    if not summary.load.open:
        yield (
            "The load is closed: its rate follows the target. A slow target received fewer requests, and waiting times"
            " before a request are not measured."
        )
    yield from _warmup(summary)
    yield from _incomplete_agents(summary)
    yield from _invalid_agents(summary)
    yield from _without_interval(summary)
    limited = summary.pool_limited
    if limited.requests:
        yield (
            f"{quantity(limited.requests, 'request')} ({format_ratio(limited.share)}) came from iterations that had"
            " waited for a free user. Times of journeys include this wait, times of steps and requests do not."
        )
    i = summary.iterations
    if i.script_faults:
        ended = f"{quantity(i.script_faults, 'iteration')} ended with an error in the scenario"
        yield f"{ended}; objectives do not count {'it' if i.script_faults == 1 else 'them'}."
    if i.skipped:
        them = "it" if i.skipped == 1 else "them"
        yield f"The scenario skipped {quantity(i.skipped, 'iteration')}; objectives do not count {them}."
    if changes := len(summary.adjustments):
        yield f"The load was changed {quantity(changes, 'time')} during the run, so it is not the planned load."
    if summary.requests.finished or summary.iterations.finished:
        yield (
            "This is a single run, so the variation between runs is unknown. Do not conclude from it alone that the"
            " target became faster or slower."
        )


def _warmup(summary: Summary) -> Iterator[str]:
    warmup = summary.warmup
    if warmup is not None and warmup.cut_s:
        count = sum(s.count for s in warmup.series if (s.kind, s.outcome, s.region) == ("journey", "*", "*"))
        counted = f" ({quantity(count, 'iteration')})" if count else ""
        how = "detected after the run" if warmup.how == "found" else "set in the plan"
        yield f"The first {_length(warmup.cut_s)}{counted} are warm-up, {how}; objectives do not count them."


def _incomplete_agents(summary: Summary) -> Iterator[str]:
    incomplete = [agent for agent in summary.agents if not agent.complete]
    if incomplete:
        of = quantity(len(summary.agents), "agent")
        share = f" ({format_ratio(summary.missing_share)} of the planned load)" if summary.missing_share else ""
        yield f"Measurements of {format_count(len(incomplete))} of {of} are missing{share}."
    for agent in incomplete[:FEW]:
        yield _sentence(agent.missing or f"agent {agent.id} is not complete")


def _invalid_agents(summary: Summary) -> Iterator[str]:
    """Yield how long agents could not measure, for agents that no reason of the validity names."""
    named = " ".join(summary.validity.reasons)
    others = (a for a in summary.agents if a.unfit_intervals and f"agent {a.id} was unfit" not in named)
    found = sorted(others, key=lambda a: -a.unfit_intervals)
    for agent in found[:FEW]:
        of = quantity(agent.intervals, "interval")
        unfit = format_count(agent.unfit_intervals)
        yield f"Agent {agent.id} could not measure correctly in {unfit} of {of}; the figures include those intervals."
    if more := max(0, len(found) - FEW):
        was = "agent was" if more == 1 else "agents were"
        yield f"{format_count(more)} more {was} affected, none in more intervals than these."


def _without_interval(summary: Summary) -> Iterator[str]:
    without: dict[str, list[str]] = {}
    for slo in summary.slos:
        if why := WHY_NO_INTERVAL.get(interval_text(slo, summary)):
            without.setdefault(why, []).append(f"{slo.objective}{_of(slo)} ({format_count(slo.count)})")
    for why, names in without.items():
        yield f"There is no 95 % interval for {_some(names)}: {why}."


# -- what next ----------------------------------------------------------------------------------------


def _next(summary: Summary, run: str) -> Iterator[str]:
    i = summary.iterations
    if summary.requests.errors or i.errors or i.script_faults:
        yield f"See the failed requests with their responses: loadgen failures {run}"
    if i.script_faults or (summary.result == "error" and not summary.requests.finished):
        yield f"Try each journey once: loadgen check {quote(summary.scenario)}"
    for advice in summary.validity.advice:
        if advice.startswith("add "):  # a rerun would use the same number of agents
            yield f"{_capital(advice.partition(':')[0])}, then: loadgen run {quote(summary.scenario)}"
        else:
            yield f"{_capital(advice.rstrip('.'))}, then: loadgen runs rerun {run}"
    if summary.pool_limited.add_users:
        yield f"Raise max_users in the plan, then: loadgen run {quote(summary.scenario)}"
    match summary.result:
        case "incomplete" | "interrupted":
            yield f"Repeat the run and let it finish: loadgen runs rerun {run}"
        case "invalid" if not summary.validity.advice:
            yield f"Add agents or stop other programs on their machines, then: loadgen runs rerun {run}"
        case "passed" | "failed" if summary.slos:
            yield f"Repeat the run with the same arrivals to see how much results vary: loadgen runs rerun {run}"
        case "passed":
            yield f"Set slos=[...] in the plan, then: loadgen run {quote(summary.scenario)}"
    yield f"Share the report as one file: loadgen report {run} -o report.html"


# -- words --------------------------------------------------------------------------------------------


def _all_agents(n: int) -> str:
    return "its agent ran" if n == 1 else f"all {format_count(n)} agents ran"


def _length(seconds: float) -> str:
    return format_duration(seconds * NS_PER_S)


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - FEW)} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def _sentence(text: str) -> str:
    return f"{_capital(text.rstrip('.'))}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
