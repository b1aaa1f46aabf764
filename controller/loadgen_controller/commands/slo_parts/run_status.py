"""`loadgen slo status --run RUN`: the sample of a run for each promise, beside the promise's state in production."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadgen.errors import ExitCode, UsageError
from loadgen.outside_text import one_line
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.runs.against_promises import RunAgainst, run_against
from loadgen.programme.runs.sample_text import STRICTER
from loadgen.programme.status import PromiseState, time_text
from loadgen.report.run_as_dataframes import Run
from loadgen.units import format_count, quantity

__all__ = ["against", "run_document", "run_exit_code", "run_lines"]


def against(run: Run, promises: Sequence[Objective]) -> tuple[RunAgainst, ...]:
    """Return the samples of a run for the promises whose journey it has.

    Raises:
        UsageError: it has no journey of a promise, or it has not ended.
    """
    name = one_line(run.id, 100)
    try:
        found = run_against(run, promises)
    except ValueError as error:
        raise UsageError(f"--run: {error}", hint="name a run that has ended: loadgen runs") from None
    if not found:
        journeys = ", ".join(sorted({one_line(one.journey, 60) for one in promises if one.journey})[:5]) or "none"
        raise UsageError(
            f"--run: {name} has no journey of a promise; the promises name {journeys}",
            hint="write the annotation loadgen.dev/journey: NAME at the promise",
        )
    return found


def run_lines(
    run: Run, found: Sequence[RunAgainst], states: Mapping[str, PromiseState], *, explain: bool
) -> Iterator[str]:
    """Yield the lines for people, the worst promise first."""
    words = Counter(one.word for one in found)
    rest = "".join(f", {count} {word}" for word, count in words.items() if word != "kept")
    yield f"run {one_line(run.id, 100)}: {words['kept']} of {quantity(len(found), 'promise')} kept under its load{rest}"
    yield f"a sample under a load that you chose, not production; {STRICTER}"
    for one in sorted(found, key=_worst_first):
        owner = f"; owner {one_line(one.promise.owner, 80)}" if one.promise.owner else ""
        name, production = one_line(one.promise.name, 80), _production(states[one.promise.name])
        yield f"{name}: {one.text}; production: {production}{owner}"
        if explain:
            yield from (f"  {line}" for line in _explained(one))


def run_document(run: Run, found: Sequence[RunAgainst], states: Mapping[str, PromiseState]) -> dict[str, Any]:
    """Return the samples for programs. low, high: the 95 % interval of the good share."""
    return {
        "run": run.id,
        "note": STRICTER,
        "promises": [
            {
                "slo": one.promise.name,
                "journey": one.promise.journey,
                "owner": one.promise.owner or None,
                "target": float(one.promise.target),
                "state": one.word,
                "why": one.why or None,
                "good": None if one.sample is None else one.sample.requests - one.sample.bad,
                "of": None if one.sample is None else one.sample.requests,
                "attainment": None if one.sample is None else one.sample.ratio,
                "low": None if one.sample is None else one.sample.low,
                "high": None if one.sample is None else one.sample.high,
                "design_effect": None if one.sample is None else one.sample.design_effect,
                "missing_s": one.missing_s,
                "production": _production_document(states[one.promise.name]),
            }
            for one in found
        ],
    }


def run_exit_code(found: Sequence[RunAgainst]) -> ExitCode:
    """Return 1 if the run is surely below a target, 0 if it is surely at or above all of them, else 3."""
    words = {one.word for one in found}
    if "not kept" in words:
        return ExitCode.FAILED
    return ExitCode.PASSED if words == {"kept"} else ExitCode.INCOMPLETE


def _worst_first(one: RunAgainst) -> tuple[bool, bool, str]:
    return one.word != "not kept", one.word == "kept", one.promise.name


def _production(state: PromiseState) -> str:
    if state.judgement is None:
        return f"{state.word}: {one_line(state.why, 200)}"
    return f"{state.word}: {state.figure}, {state.objective.window.text} to {time_text(state.end)}"


def _production_document(state: PromiseState) -> dict[str, Any]:
    observed = None if state.judgement is None else state.judgement.observed
    return {
        "state": state.word,
        "attainment": None if observed is None else observed.ratio,
        "to": time_text(state.end) if state.end else None,
    }


def _explained(one: RunAgainst) -> Iterator[str]:
    if one.sample is None:
        return
    good, of = (format_count(round(value)) for value in (one.sample.requests - one.sample.bad, one.sample.requests))
    limit = one.promise.threshold
    within = "" if limit is None else f", within {limit.text} from the due time on"
    yield f"{good} good of {of} requests, without warm-up; good: ok{within}"
    alike = one.sample.requests / one.sample.design_effect
    yield (
        f"neighbouring seconds are alike, so the run is as good as {format_count(round(alike))} independent requests"
        f" (design effect {one.sample.design_effect:.3g}, the larger one of 5 and of 10 batches)"
    )
    if one.sample.method:
        yield f"{one.sample.method} interval of that many requests, wider for 5 batches (Student's t, 4 degrees)"
