"""The stored ones stand for all: weighted sums over them are right on average, whatever is summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import prod, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from loadgen.clients.request.traced_meter import TracedMeter
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.tracing.breaches import Breaches
from loadgen.engine.tracing.over_limits import OverLimits
from loadgen.engine.tracing.reservoirs import KEPT_OF_CLASS, SampledPicks
from loadgen.engine.tracing.sampling import Sampling
from loadgen.engine.tracing.share import AdaptiveShare
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, Exemplar
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.objectives.terms import Objective
from loadgen.units import NS_PER_S
from tests.support.deltas import FakeAgent
from tests.support.traced import Sampled

# -- all draws counted -------------------------------------------------------------------------


def offered_to(offered: list[int], over_ns: int, random: Callable[[], float]) -> SampledPicks[int]:
    """Return what is kept of these response times. An odd one failed."""
    picks = SampledPicks[int]()
    for value in offered:
        if value % 2:
            picks.failed_one(partial(int, value), random)
        else:
            picks.ok_one(value, over_ns, partial(int, value), random)
    return picks


def draws(offered: list[int], over_ns: int) -> Iterator[tuple[Fraction, SampledPicks[int]]]:
    """Yield each possible result with its probability. An odd response time failed."""
    seen = {"failed": 0, "over": 0, "rest": 0}
    choices: list[int] = []
    slowest = -1
    for value in offered:
        if value % 2:
            name, displaced = "failed", value
        elif value > slowest:
            displaced, slowest = slowest, value
            if displaced < 0:
                continue
            name = "over" if displaced > over_ns else "rest"
        else:
            name, displaced = ("over" if value > over_ns else "rest"), value
        seen[name] += 1
        if seen[name] > KEPT_OF_CLASS:
            choices.append(seen[name])  # so many equally likely draws
    for number in range(prod(choices)):
        rest, given = number, []
        for of in choices:
            rest, at = divmod(rest, of)
            given.append((at + 0.5) / of)
        random = iter(given)
        picks = offered_to(offered, over_ns, partial(next, random))
        assert next(random, None) is None
        yield Fraction(1, prod(choices)), picks


@given(st.lists(st.integers(0, 30), max_size=7), st.integers(-1, 31), st.sampled_from([1.0, 0.5, 0.125]))
def test_over_all_draws_the_weighted_sum_of_any_figure_is_its_sum_over_all_that_were_sampled(
    offered: list[int], over_ns: int, probability: float
) -> None:
    # What is summed up: an arbitrary figure of each request, so the test holds for all of them at once.
    expected = [Fraction(0)] * 31
    for chance, picks in draws(offered, over_ns):
        for _, value, stands_for in picks.weighted(probability):
            expected[value] += chance * Fraction(stands_for).limit_denominator(10_000)
    for value in range(31):
        assert expected[value] == Fraction(offered.count(value)) / Fraction(probability)


@given(st.lists(st.integers(0, 1_000), max_size=60), st.integers(0, 1_000), st.integers(0, 2**32 - 1))
def test_weights_add_up_to_the_number_of_sampled_ones_and_the_classes_are_kept_apart(
    offered: list[int], over_ns: int, seed: int
) -> None:
    picks = offered_to(offered, over_ns, Random(seed).random)
    kept = list(picks.weighted(1.0))
    fine = [value for value in offered if not value % 2]
    assert sum(weight for _, _, weight in kept) == pytest.approx(len(offered))
    by_why = {why: [value for one, value, _ in kept if one == why] for why in ("slowest", "failed", "over", "random")}
    assert by_why["slowest"] == ([max(fine)] if fine else [])
    assert all(value > over_ns for value in by_why["over"])
    assert all(value <= over_ns for value in by_why["random"])
    assert all(value % 2 for value in by_why["failed"])
    others = sorted(fine)[:-1]
    assert len(by_why["over"]) == min(KEPT_OF_CLASS, sum(value > over_ns for value in others))
    assert len(by_why["random"]) == min(KEPT_OF_CLASS, sum(value <= over_ns for value in others))
    assert len(by_why["failed"]) == min(KEPT_OF_CLASS, len(offered) - len(fine))


# -- as in a run -------------------------------------------------------------------------------


def a_run(
    seed: int,
    sample: float | str,
    *,
    most: int = 200,
    intervals: int = 12,
    per: str = "iteration",
    boost: float | None = None,
) -> tuple[list[Exemplar], dict[tuple[str, str], tuple[int, int]]]:
    """Return the exemplars of a run, and of each name and outcome the count and the sum of response times.

    Iterations have 1 to 4 requests of two names; some are slow as a whole, so they are no independent draws.
    """
    chance = Random(seed)
    trace = Trace(sample, per=per, boost=boost)  # type: ignore[arg-type]
    adaptive = AdaptiveShare(trace.share, trace.per_s, trace.boost_share) if trace.is_adaptive else None
    tracer = Tracer(trace, Random(seed + 1), adaptive=adaptive)
    limit = Objective(kind="percentile", text="p(99) < 900ns", limit=900, q=99.0, request="GET /a")
    breaches = Breaches([limit]) if boost else None
    sampling = Sampling(trace.probability, OverLimits([limit]), adaptive, breaches)
    recorder = Recorder(max_exemplars=most, sampling=sampling)
    recorder.exemplars._random = Random(seed + 2)
    meter = type("OneMeter", (TracedMeter,), {"__slots__": (), "per": per})(recorder)
    found: list[Exemplar] = []
    truth: dict[tuple[str, str], tuple[int, int]] = {}
    for interval in range(intervals):
        for n in range(40 if adaptive is None else 10 << interval):  # a rate's threshold changes with the load
            meter.begin("shop", warmup=False, pool_limited=False, n=n)
            factor = 3 if chance.random() < 0.1 else 1
            for _ in range(1 + n % 4):
                name = "GET /a" if chance.random() < 0.7 else "GET /b"
                outcome = "http 503" if chance.random() < 0.1 else OK
                response_ns = factor * int(chance.lognormvariate(6, 0.5))
                count, total = truth.get((name, outcome), (0, 0))
                truth[name, outcome] = count + 1, total + response_ns
                meter.hold(Sampled(meter, tracer, name, response_ns, outcome))
            meter.settle()
        found += recorder.flip(interval * NS_PER_S, (interval + 1) * NS_PER_S).exemplars
    return found, truth


@pytest.mark.parametrize(
    ("sample", "most", "per", "boost"),
    [
        (0.3, 200, "iteration", None),
        (0.3, 6, "iteration", None),
        (0.2, 9, "request", None),
        ("8/s", 200, "iteration", None),
        pytest.param("8/s", 9, "request", None, marks=pytest.mark.slow),
        (0.05, 200, "iteration", 0.4),
        pytest.param("4/s", 200, "trace", 0.3, marks=pytest.mark.slow),
    ],
)
def test_counts_and_means_of_a_run_are_estimated_without_bias(
    sample: float | str, most: int, per: str, boost: float | None
) -> None:
    """80 runs: the mean error of each estimate is within 4.5 of its standard errors. 8 estimates, so 1 in 20,000."""
    errors: dict[tuple[str, str, str], list[float]] = {}
    for seed in range(80):
        found, truth = a_run(seed, sample, most=most, per=per, intervals=4, boost=boost)
        for (name, outcome), (count, total) in truth.items():
            some = [one for one in found if (one.request, one.outcome) == (name, outcome) and one.stands_for]
            errors.setdefault((name, outcome, "count"), []).append(sum(one.stands_for for one in some) - count)
            errors.setdefault((name, outcome, "sum"), []).append(
                sum(one.stands_for * one.response_ns for one in some) - total
            )
    assert len(errors) == 8
    for values in errors.values():
        mean = sum(values) / len(values)
        deviation = sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
        assert abs(mean) < 4.5 * deviation / sqrt(len(values))


def test_an_equal_weight_for_all_stored_ones_would_be_biased() -> None:
    """Why there are weights: the slowest and slow ones are stored far too often."""
    plain = weighted = true = n = 0.0
    for seed in range(40):
        found, truth = a_run(seed, 0.5, intervals=4)
        some = [one for one in found if one.request == "GET /a" and one.outcome == OK and one.stands_for]
        count, total = truth["GET /a", OK]
        plain += sum(one.response_ns for one in some) / len(some)
        weighted += sum(one.response_ns * one.stands_for for one in some) / sum(one.stands_for for one in some)
        true += total / count
        n += 1
    assert plain / n > 1.25 * true / n
    assert weighted / n == pytest.approx(true / n, rel=0.05)


def test_if_everything_is_sampled_and_fits_the_weights_add_up_to_the_counts_exactly() -> None:
    found, truth = a_run(3, 1.0)
    for (name, outcome), (count, _) in truth.items():
        of_name = [one for one in found if (one.request, one.outcome) == (name, outcome)]
        assert sum(one.stands_for for one in of_name) == pytest.approx(count)


def test_too_many_exemplars_of_a_worker_are_thinned_and_still_stand_for_the_same_number() -> None:
    all_, truth = a_run(3, 1.0, intervals=1)
    few, _ = a_run(3, 1.0, intervals=1, most=5)
    assert len(few) == 5 < len(all_)
    assert all(one.stands_for >= len(all_) / 5 for one in few)  # each stood for one at least
    assert sum(count for count, _ in truth.values()) == pytest.approx(sum(one.stands_for for one in all_))


def test_joined_deltas_with_too_many_exemplars_stand_for_the_same_number_on_average() -> None:
    """200 joins of twice 400, thinned to 500: the mean of the sums is within 4 standard errors of the sum."""
    agent = FakeAgent("a")
    sums = []
    chance = Random(5)
    one = Exemplar("j", "", "GET /", OK, "random", 0, 0, 0, 0, span="b" * 16, sampled=True)
    weights = [1.0 + 9 * (n % 2) for n in range(800)]
    first, second = agent.delta({}), agent.delta({})
    for _ in range(200):
        made = tuple(
            structs.replace(one, n=n, at_ns=chance.randrange(10**9), response_ns=n, stands_for=weight)
            for n, weight in enumerate(weights)
        )
        joint = join(replace(first, exemplars=made[:400]), replace(second, exemplars=made[400:]))
        assert joint is not None
        assert len(joint.exemplars) == MAX_EXEMPLARS
        sums.append(sum(one.stands_for for one in joint.exemplars))
    mean = sum(sums) / len(sums)
    deviation = sqrt(sum((value - mean) ** 2 for value in sums) / (len(sums) - 1))
    assert abs(mean - sum(weights)) < 4 * deviation / sqrt(len(sums))


def test_the_threshold_of_a_decision_holds_for_its_iteration_and_is_in_its_header_and_weight() -> None:
    """The interval ends within an iteration: its further requests, and its weight, keep the first threshold."""
    adaptive = AdaptiveShare(per_s=2.0)
    recorder = Recorder(sampling=Sampling(0.0, adaptive=adaptive))
    tracer = Tracer(Trace("2/s"), Random(1), adaptive=adaptive)
    meter = TracedMeter(recorder)
    for _ in range(300):  # so the next interval has a low share
        meter.begin("shop", warmup=False, pool_limited=False)
        tracer.lines(meter)
    meter.begin("shop", warmup=False, pool_limited=False)
    while tracer.lines(meter)[3] is False:
        meter.begin("shop", warmup=False, pool_limited=False)
    before = meter.drawn
    assert before is not None
    recorder.flip(0, NS_PER_S)
    assert adaptive.now != before
    lines, _, _, is_sampled = tracer.lines(meter)
    assert is_sampled
    assert f"ot=th:{before.text}\r\n".encode() in lines
    meter.hold(Sampled(meter, tracer, "GET /", 100))
    meter.settle()
    (one,) = recorder.flip(NS_PER_S, 2 * NS_PER_S).exemplars
    assert one.stands_for == pytest.approx(1 / before.probability)
