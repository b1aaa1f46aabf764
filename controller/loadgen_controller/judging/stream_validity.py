"""Decides for each metric of streams whether the load generator was able to measure it. Pure.

The reads of one second can be in time for ttft and too late for the gaps between tokens, or the other way round
(docs/llm-clocks.md). So a valid run may have an invalid metric. An objective on an invalid metric is
inconclusive, and the run has the exit code of an invalid run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from loadgen.measure.deltas.series_key import OTHER, OWN_LIMITS_TAG
from loadgen.measure.deltas.stream_health import JUDGED_AS, MetricValidity
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult
from loadgen.measure.objectives.terms import GOODPUT_LIMITS, metrics_of_limits
from loadgen.units import NS_PER_US, format_duration, format_ratio, quantity
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.unfit_cause import Driver
from loadgen_controller.judging.validity import (
    INVALID_ABOVE,
    INVALID_FROM,
    SUSPECT_ABOVE,
    SUSPECT_FROM,
    drivers_of,
)

__all__ = ["held_back", "metrics_of_own_limits", "misled", "stream_validity"]


def stream_validity(assignment: Assignment, merge: Merge) -> dict[str, MetricValidity]:
    """Return the verdict on each metric of streams, by its name; {} if no streams were read.

    The seconds of a worker count by its share of the load, as for the whole run.
    """
    found = [
        driver
        for agent in assignment.agents
        for driver in drivers_of(agent, assignment, merge)
        if driver.fitness.streams.seconds
    ]
    return {metric: _judged(metric, found) for metric in JUDGED_AS} if found else {}


def _judged(metric: str, drivers: Sequence[Driver]) -> MetricValidity:
    judged_as = JUDGED_AS[metric]
    unfit = [driver.fitness.streams.unfit(judged_as) for driver in drivers]
    shares = [n / driver.fitness.streams.seconds for n, driver in zip(unfit, drivers, strict=True)]
    weight = sum(driver.share for driver in drivers)
    share = sum(one * driver.share for one, driver in zip(shares, drivers, strict=True)) / weight if weight else 0.0
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    if share > SUSPECT_ABOVE and max(unfit) >= SUSPECT_FROM:
        verdict = "invalid" if share > INVALID_ABOVE and max(unfit) >= INVALID_FROM else "suspect"
    seconds = sum(driver.fitness.streams.seconds for driver in drivers)
    if verdict == "valid":
        return MetricValidity(metric, verdict, sum(unfit), seconds)
    worst = drivers[shares.index(max(shares))]
    return MetricValidity(
        metric, verdict, sum(unfit), seconds, _reason(metric, verdict, worst, share), _advice(drivers)
    )


def _reason(metric: str, verdict: str, worst: Driver, share: float) -> str:
    streams = worst.fitness.streams
    so = "cannot be judged" if verdict == "invalid" else "may be wrong"
    n = streams.unfit(JUDGED_AS[metric])
    if JUDGED_AS[metric] == "ttft":  # late requests make only the times to the first token unfit (`unfit_for`)
        text = f"{metric} {so}: workers sent requests or read streams too late for it"
    else:
        text = f"{metric} {so}: workers read streams too late for it"
    text += (
        f" in {format_ratio(share)} of the seconds; {worst.name} in {n} of {quantity(streams.seconds, 'second')},"
        f" with up to {quantity(streams.streams_max, 'stream')}"
    )
    if streams.kernel_reads:
        text += f" and a read lag p99 of up to {format_duration(streams.read_lag_p99_max_us * NS_PER_US)}"
    if streams.loop_reads:
        of_loop = format_ratio(streams.loop_reads / (streams.loop_reads + streams.kernel_reads))
        text += f", and {of_loop} of its reads were timed by the event loop"
    return text


def _advice(drivers: Sequence[Driver]) -> str:
    """Return the advice: spread the streams over more cores, so that no core has more than one still read in time.

    If a core read as many streams in time as there ever were, their number was not the cause.
    """
    fit = max(driver.fitness.streams.fit_streams_max for driver in drivers)
    if not fit:
        return (
            "workers were too late in every second with streams: use a machine with nothing else on it,"
            " or fewer streams"
        )
    if fit >= max(driver.fitness.streams.streams_max for driver in drivers):
        return "in other seconds, as many streams were read in time: close other programs or use another machine"
    return (
        f"one core read up to {quantity(fit, 'stream')} in time: use more workers on free cores, or more agents,"
        " so that each core has fewer"
    )


def held_back(
    slos: Sequence[SloResult],
    objectives: Sequence[Objective],
    validity: Mapping[str, MetricValidity],
    own: Sequence[str] = (),
) -> tuple[tuple[SloResult, ...], tuple[str, ...]]:
    """Return the results, and a sentence for each one that became inconclusive because its metric is invalid.

    own: metrics that also decide each goodput (`metrics_of_own_limits`).
    """
    metrics = {one.text: (*one.judged_metrics, *(own if one.kind == "goodput" else ())) for one in objectives}
    results: list[SloResult] = []
    sentences: list[str] = []
    for slo in slos:
        invalid = [validity[name] for name in metrics.get(slo.objective, ()) if name in validity]
        reason = next((one.reason for one in invalid if one.verdict == "invalid"), "")
        if reason:
            slo = msgspec.structs.replace(slo, verdict="inconclusive", reason=reason, sure=False)
            whose = f" of {slo.journey}" if slo.journey else ""
            sentences.append(f"SLO {slo.objective}{whose} is inconclusive: {reason}")
        results.append(slo)
    return tuple(results), tuple(dict.fromkeys(sentences))


def metrics_of_own_limits(merge: Merge) -> tuple[str, ...]:
    """Return the metrics of all limits that requests had of their own (`slo=` of a call)."""
    keys = merge.keys()
    own = {value for key in keys if key.kind == "goodput" for name, value in key.tags if name == OWN_LIMITS_TAG}
    if OTHER in own:
        return metrics_of_limits(GOODPUT_LIMITS)
    return metrics_of_limits(
        dict.fromkeys(limit.partition("<=")[0] for text in sorted(own) for limit in text.split(","))
    )


def misled(followed: Iterable[Objective], validity: Mapping[str, MetricValidity]) -> Iterator[str]:
    """Yield a sentence for each objective that a load followed, although one of its metrics is invalid."""
    for objective in followed:
        invalid = [validity[name] for name in objective.judged_metrics if name in validity]
        reason = next((one.reason for one in invalid if one.verdict == "invalid"), "")
        if reason:
            yield f"the load followed {objective.text}, so its rates are not to be trusted: {reason}"
