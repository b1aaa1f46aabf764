"""search and hold on metrics of streams: where they end, and what they make of long answers and of tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen import goodput, hold, p, search
from loadgen.dsl.executors.capacity import Limit
from loadgen.dsl.executors.rate_search import begin, settling_s, step
from loadgen.dsl.executors.steering_executor import Decision
from loadgen.measure.deltas.series_key import STREAM_TIMES
from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part
from tests.support.model_queues import BatchEngine, Slots

FAST = (0,) * len(RUNGS)


def driven(executor: Limit, target: Slots | BatchEngine, seconds: int) -> Decision:
    """The last decision. A decided rate is in force one interval later."""
    seen: list[Look] = []
    decision = Decision(executor.terms.start_per_s)
    rate = coming = executor.terms.start_per_s
    for _ in range(seconds):
        seen.append(target.look(rate))
        decision = executor.steer(seen)
        if decision.rate_per_s is None:
            break
        rate, coming = coming, decision.rate_per_s
    return decision


# -- where they end ----------------------------------------------------------------------------


@pytest.mark.parametrize(("slots", "service_s", "answer_s"), [(4, 0.1, 0.0), (16, 0.2, 0.0), (8, 0.5, 5.0)])
def test_a_search_by_ttft_ends_within_5_percent_of_the_knee_of_slots(
    slots: int, service_s: float, answer_s: float
) -> None:
    knee = slots / service_s
    executor = search(p(95, metric="ttft") < "500ms", upto=4 * knee, start=knee / 4)

    finding = driven(executor, Slots(slots, service_s, 0.5, answer_s), 3600).finding

    assert finding is not None
    assert finding.verdict == "found"
    assert finding.rate_per_s == pytest.approx(knee, rel=0.05)


def test_a_load_that_is_held_by_ttft_stays_just_below_the_knee() -> None:
    executor = hold(p(95, metric="ttft") < "500ms", upto="160/s", start="10/s", duration="15m")

    finding = driven(executor, Slots(4, 0.1, 0.5), 900).finding

    assert finding is not None
    assert finding.held_per_s == pytest.approx(40, rel=0.05)


def test_a_load_that_is_held_by_itl_ends_where_the_steps_of_the_batch_are_too_long() -> None:
    engine = BatchEngine(fixed_s=0.01, each_s=0.0005, tokens=100, limit_s=0.04, seed=1)
    executor = hold(p(99, metric="itl") < "40ms", upto=4 * engine.knee_per_s, duration="20m")

    decision = driven(executor, engine, 1200)

    assert decision.finding is not None
    assert decision.finding.held_per_s == pytest.approx(engine.knee_per_s, rel=0.05)
    assert " of the tokens" in decision.why


# -- how they judge ----------------------------------------------------------------------------


def look(at_s: float, rate: float, good: int, bad: int, **more: object) -> Look:
    made = Look(at_s, at_s + 1, rate, parts=(Part(0, "ask", good, bad, FAST),))
    return replace(made, **more)  # type: ignore[arg-type]


def test_the_mean_time_of_an_answer_is_ignored_after_each_change_of_the_rate() -> None:
    """240 in flight of which 20 end in a second: 12 s."""
    by_stream = search(p(95, metric="ttft") < "500ms", upto="640/s").terms
    by_response = search(p(95) < "500ms", upto="640/s").terms
    first = look(0, 10, 20, 0, in_flight=240, finished=20)

    streams, responses = step(by_stream, begin(by_stream), first), step(by_response, begin(by_response), first)

    assert streams.from_s == pytest.approx(settling_s(by_stream, 10, streams.phase) + 12)
    assert responses.from_s == pytest.approx(settling_s(by_response, 10, responses.phase))


def test_all_tokens_of_an_answer_are_one_result() -> None:
    terms = search(p(99, metric="itl") < "50ms", upto="640/s", start="10/s").terms
    climb = begin(terms)
    for at in range(4):
        climb = step(terms, climb, look(at, 10, 980, 20, finished=10))

    (tally,) = climb.stay.tallies  # of three: in the first one, the rate is new
    assert tally.count == pytest.approx(30)
    assert tally.bad == pytest.approx(0.6)


def test_each_time_of_streams_can_be_followed() -> None:
    for metric in STREAM_TIMES:
        slo = p(95, metric=metric) < "1s"  # type: ignore[arg-type]
        for executor in (search(slo, upto="64/s"), hold(slo, upto="64/s", duration="1h")):
            assert executor.faults == ()
            (aim,) = executor.aims
            assert (aim.limit_s, aim.is_late) == (1.0, True)
            assert aim.is_of_gaps == (metric in ("tpot", "stall", "itl", "icl"))
            assert aim.events == {"itl": "tokens", "icl": "reads"}.get(metric, "")
    (aim,) = search(goodput(ttft="1s") > "95%", upto="64/s").aims
    assert (aim.is_late, aim.is_of_gaps, aim.events) == (True, False, "")
    (aim,) = search(p(95) < "1s", upto="64/s").aims
    assert not aim.is_late
