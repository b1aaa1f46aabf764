"""A run in sentences, for whoever has to decide: what was tested, the verdict, why, what it means and leaves out.

Every sentence says something that is in the summary, with its count and unit; where
the summary has nothing to say of something, there is no sentence about it. No
statistics are computed here, and nothing is advised that these figures do not ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from loadgen.report.report_tables import (
    WHY_NO_INTERVAL,
    budget_text,
    headline,
    interval_text,
    milliseconds,
    observed_text,
    region_label,
)
from loadgen.report.slos import margin_text
from loadgen.report.summary_reader import Percentiles, Series, Slo, Summary
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio

__all__ = ["Story", "story_of", "targets_in", "targets_of"]

FEW = 5
"""Of a kind are told; of the others how many there are."""
SPENT = 0.8
"""Of an error budget: what is above it is near its end."""


@dataclass(frozen=True, slots=True)
class Story:
    """Whole sentences. `next`: what to do, and the command line after the colon."""

    result: str
    headline: str
    tested: tuple[str, ...]
    objectives: tuple[str, ...]
    """One of each objective, in the order of the summary."""
    why: tuple[str, ...]
    """Reasons that the headline does not have."""
    means: tuple[str, ...]
    excludes: tuple[str, ...]
    next: tuple[str, ...]

    def as_words(self) -> dict[str, object]:
        """`sentences`, `excludes` and `next` of the document's verdict."""
        return {
            "sentences": [*self.tested, *self.objectives, *self.means],
            "excludes": list(self.excludes),
            "next": list(self.next[:-1]),  # the last one makes the report, which this is in
        }


def story_of(summary: Summary, run: str = "", targets: Sequence[str] = ()) -> Story:
    """Tell the summary.

    Args:
        run: what the run is called on a command line; its id if not given.
        targets: addresses that were put under load; they are in the manifest (`targets_of`).
    """
    return Story(
        result=summary.result,
        headline=headline(summary),
        tested=tuple(_tested(summary, targets)),
        objectives=tuple(_objective(slo, summary) for slo in summary.slos),
        why=tuple(_why(summary)),
        means=tuple(_means(summary)),
        excludes=tuple(_excludes(summary)),
        next=tuple(_next(summary, run or quote(summary.run_id))),
    )


def targets_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses that a run's plan puts under load, the first one first."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        return ()
    several = spec.get("targets")
    return targets_in(spec.get("target"), several if isinstance(several, Mapping) else {})


def targets_in(target: object, targets: Mapping[str, object]) -> tuple[str, ...]:
    """Of a plan's two settings, each address once."""
    return tuple(dict.fromkeys(url for url in (target, *targets.values()) if isinstance(url, str) and url))


# -- what was tested --------------------------------------------------------------------------------


def _tested(summary: Summary, targets: Sequence[str]) -> Iterator[str]:
    plan = f", plan {summary.plan}," if summary.plan else ""
    against = f" against {_some(targets)}" if targets else ""
    load = f" with the load {summary.load.text}" if summary.load.text else ""
    yield f"{summary.scenario}{plan} was run{against}{load}."
    regions = [region_label(name, summary.is_embedded) for name in dict.fromkeys(a.region for a in summary.agents)]
    if regions:
        from_where = f"{_count(len(regions), 'region')}: {_some(regions)}"
        yield f"It was driven by {_count(len(summary.agents), 'agent')} from {from_where}."
    i, r = summary.iterations, summary.requests
    if i.due or r.started:
        began = f" from {summary.started_at} on" if summary.started_at else ""
        counts = f"{_count(i.due, 'iteration')} were due, {format_count(i.finished)} finished"
        share = f", of which {_count(r.errors, 'error')} ({format_ratio(r.errors / r.finished)})" if r.finished else ""
        took = f"It took {_length(summary.duration_s)}{began}"
        yield f"{took}: {counts}; {_count(r.finished, 'request')} finished{share}."


# -- why --------------------------------------------------------------------------------------------


def _why(summary: Summary) -> Iterator[str]:
    said = headline(summary)
    for reason in dict.fromkeys((*summary.reasons, *_doubts(summary))):
        if not reason.startswith("SLO ") and reason.rstrip(".") not in said:
            yield _sentence(reason)


def _doubts(summary: Summary) -> tuple[str, ...]:
    """Why the generator was not fit, or may not have been."""
    return () if summary.validity.verdict == "valid" else summary.validity.reasons


def _objective(slo: Slo, summary: Summary) -> str:
    """Verdict, what was observed of how many, margin, budget, interval; of windows which and how many."""
    name = f"{slo.objective}{_of(slo)}"
    if slo.verdict == "inconclusive":
        seen = f"; observed was {_observed(slo)} of {format_count(slo.count)}" if slo.count else ""
        return f"{name} is inconclusive: {slo.reason.rstrip('.') or 'the data do not decide it'}{seen}."
    said = "held" if slo.verdict == "passed" else "failed"
    parts = [f"observed was {_observed(slo)} of {format_count(slo.count)} that were due"]
    if slo.window_s is not None:
        broken = f"{format_count(slo.windows_failed)} of {_count(slo.windows, 'window')} of {_length(slo.window_s)}"
        parts = [f"{broken} broke it", f"in the worst one {_observed(slo)} of {format_count(slo.count)} were bad"]
        if slo.worst_window_s is not None:
            parts[1] += f", from {slo.worst_window_s:,.0f} s on"
    elif isinstance(slo.observed, str):
        parts.append("that percentile falls among those that did not end ok")
    elif margin := margin_text(slo.margin):
        parts.append(margin if margin == "at the limit" else f"{margin} the limit")
    if slo.budget is not None:
        parts.append(f"{budget_text(slo.budget)} of its error budget is used")
    if slo.low is not None and slo.high is not None:
        parts.append(f"95 % interval {interval_text(slo, summary)}")
    return f"{name} {said}: {'; '.join(parts)}."


def _observed(slo: Slo) -> str:
    return observed_text(slo.observed, "ratio" if slo.window_s is not None else slo.unit)


def _of(slo: Slo) -> str:
    return f" of {slo.journey}" if slo.journey else ""


# -- what it means ----------------------------------------------------------------------------------


def _means(summary: Summary) -> Iterator[str]:
    yield from _by_result(summary)
    yield from _near(summary)
    if summary.result in ("passed", "failed", "incomplete", "interrupted"):
        yield from _wrong(summary)
        yield from _slowest(summary)


def _by_result(summary: Summary) -> Iterator[str]:
    n = len(summary.slos)
    broken = [s for s in summary.slos if s.verdict == "failed"]
    match summary.result:
        case "passed" if n:
            kept = "its objective" if n == 1 else f"all {format_count(n)} objectives"
            yield f"Under this load the target kept {kept}."
        case "passed":
            yield "No objective was set, and no figure held against a limit: passed only says that it ran to its end."
        case "failed" if broken:
            broke = "its objective" if n == 1 else f"{format_count(len(broken))} of {_count(n, 'objective')}"
            yield f"Under this load the target broke {broke}."
        case "failed":
            yield "It failed without a broken objective, for the reasons above."
        case "incomplete":
            missing = summary.missing_share
            share = f": {format_ratio(missing)} of the planned load is not in the figures" if missing else ""
            yield f"This is neither passed nor failed{share}."
        case "invalid":
            yield (
                "The generator was not fit to measure, so response times are not the target's alone: judge nothing by"
                " them."
            )
        case "interrupted":
            yield f"It was ended after {_length(summary.duration_s)}; the figures are of what was measured until then."
        case "error":
            n = summary.requests.finished
            had = f"; the {_count(n, 'request')} that finished before it decide nothing" if n else ""
            yield f"It ended by an error, which says nothing of the target{had}."
    if summary.validity.verdict == "suspect":
        yield (
            "The generator may not have been fit to measure all of the time: response times may be longer than the"
            " target's."
        )


def _near(summary: Summary) -> Iterator[str]:
    """Verdicts that a repeat could turn."""
    for slo in summary.slos:
        limit = slo.limit_ms if slo.unit == "ms" else slo.allowed
        ends = slo.low, slo.high
        is_known = slo.window_s is None and limit is not None and all(isinstance(end, int | float) for end in ends)
        if is_known and float(slo.low or 0) <= float(limit or 0) <= float(slo.high or 0):
            yield (
                f"The limit of {slo.objective}{_of(slo)} lies within its 95 % interval, {interval_text(slo, summary)}:"
                " a repeat may come to the other verdict."
            )
        elif slo.verdict == "passed" and slo.budget is not None and slo.budget >= SPENT:
            yield f"{slo.objective}{_of(slo)} held with {budget_text(slo.budget)} of its error budget used."


def _wrong(summary: Summary) -> Iterator[str]:
    """The most frequent failure of requests; where there is none, of iterations."""
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
    """Where the time went: the request with the highest p95, where there are several."""
    rows = [
        s for s in _everywhere(summary, "request", "*") if isinstance((s.response_ms or Percentiles()).p95, float | int)
    ]
    if len(rows) > 1:
        most = max(rows, key=lambda s: float((s.response_ms or Percentiles()).p95 or 0))
        p = most.response_ms or Percentiles()
        times = f"p50 {milliseconds(p.p50)} ms, p95 {milliseconds(p.p95)} ms, p99 {milliseconds(p.p99)} ms"
        of = f"{format_count(most.count)} requests"
        yield f"The slowest request was {_name(most)}: {times} of {of}."


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
            f"{_count(n, 'region')} {'is' if n == 1 else 'are'} simulated: {_all_agents(len(summary.agents))} on one"
            " machine, so the way from there to the target is in no figure."
        )
    if not summary.load.open:
        yield (
            "The load is closed: its rate followed the target, so a slow target was asked less, and waits before it are"
            " not measured."
        )
    yield from _cut(summary)
    yield from _missing(summary)
    yield from _unfit(summary)
    yield from _few(summary)
    limited = summary.pool_limited
    if limited.requests:
        yield (
            f"{_count(limited.requests, 'request')} ({format_ratio(limited.share)}) came from iterations that had"
            " waited for a free user: their times are not the target's alone."
        )
    i = summary.iterations
    if i.script_faults:
        yield f"{_count(i.script_faults, 'iteration')} ended by a fault of the scenario, and are in no objective."
    if i.skipped:
        yield f"{_count(i.skipped, 'iteration')} skipped themselves, and are in no objective."
    if changes := len(summary.adjustments):
        yield f"The load was changed {_count(changes, 'time')} while it ran: it is not the one that was planned."
    if summary.requests.finished or summary.iterations.finished:
        yield "It is 1 run: how far runs of the same thing differ is not known from it, so it compares with nothing."


def _cut(summary: Summary) -> Iterator[str]:
    warmup = summary.warmup
    if warmup is not None and warmup.cut_s:
        count = sum(s.count for s in warmup.series if (s.kind, s.outcome, s.region) == ("journey", "*", "*"))
        counted = f", {_count(count, 'iteration')}" if count else ""
        how = "was found after the run" if warmup.how == "found" else "is stated in the plan"
        yield f"The first {_length(warmup.cut_s)}{counted}, are warm-up, and in no objective; that {how}."


def _missing(summary: Summary) -> Iterator[str]:
    incomplete = [agent for agent in summary.agents if not agent.complete]
    if incomplete:
        of = _count(len(summary.agents), "agent")
        share = f", {format_ratio(summary.missing_share)} of the planned load" if summary.missing_share else ""
        yield f"What {format_count(len(incomplete))} of {of} had measured and not handed over is missing{share}."
    for agent in incomplete[:FEW]:
        yield _sentence(agent.missing or f"agent {agent.id} is not complete")


def _unfit(summary: Summary) -> Iterator[str]:
    found = sorted((a for a in summary.agents if a.unfit_intervals), key=lambda a: -a.unfit_intervals)
    for agent in found[:FEW]:
        of = _count(agent.intervals, "interval")
        unfit = format_count(agent.unfit_intervals)
        yield f"Agent {agent.id} was not fit to measure in {unfit} of {of}, and they are in the figures."
    if more := max(0, len(found) - FEW):
        yield f"So it was with {_count(more, 'more agent')}, in no more of them."


def _few(summary: Summary) -> Iterator[str]:
    without: dict[str, list[str]] = {}
    for slo in summary.slos:
        if why := WHY_NO_INTERVAL.get(interval_text(slo, summary)):
            without.setdefault(why, []).append(f"{slo.objective}{_of(slo)} ({format_count(slo.count)})")
    for why, names in without.items():
        yield f"There is no 95 % interval of {_some(names)}: {why}."


# -- what next ----------------------------------------------------------------------------------------


def _next(summary: Summary, run: str) -> Iterator[str]:
    i = summary.iterations
    if summary.requests.errors or i.errors or i.script_faults:
        yield f"See what failed, with what was sent and answered: loadgen failures {run}"
    if i.script_faults or (summary.result == "error" and not summary.requests.finished):
        yield f"Try each journey once: loadgen check {quote(summary.scenario)}"
    for advice in summary.validity.advice:
        if advice.startswith("add "):  # run again as it was, it would have as few
            yield f"{_capital(advice.partition(':')[0])}, then: loadgen run {quote(summary.scenario)}"
        else:
            yield f"{_capital(advice.rstrip('.'))}, then: loadgen runs rerun {run}"
    if summary.pool_limited.add_users:
        yield f"Raise max_users in the plan, then: loadgen run {quote(summary.scenario)}"
    match summary.result:
        case "incomplete" | "interrupted":
            yield f"Run it again, to its end: loadgen runs rerun {run}"
        case "invalid" if not summary.validity.advice:
            yield f"Run it again, with more agents or less beside them: loadgen runs rerun {run}"
        case "passed" | "failed" if summary.slos:
            yield f"Run it again, the same arrivals, to see how far it differs: loadgen runs rerun {run}"
        case "passed":
            yield f"Set slos=[...] in the plan, then: loadgen run {quote(summary.scenario)}"
    yield f"Hand it on as one file: loadgen report {run} -o report.html"


# -- words --------------------------------------------------------------------------------------------


def _all_agents(n: int) -> str:
    return "its 1 agent was" if n == 1 else f"all {format_count(n)} agents were"


def _length(seconds: float) -> str:
    return format_duration(seconds * NS_PER_S)


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - FEW)} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def _count(n: int, noun: str) -> str:
    return f"{format_count(n)} {noun}{'' if n == 1 else 's'}"


def _sentence(text: str) -> str:
    return f"{_capital(text.rstrip('.'))}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
