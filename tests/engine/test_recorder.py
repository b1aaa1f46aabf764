"""The recorder loses nothing, counts nothing twice, and tells what is censored."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import MAX_NAMES, Recorder
from loadgen.engine.recording.tagging import MOST_OF_HEADER
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.recording.values_to_histogram import PART
from loadgen.errors import UsageError
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.limits import NAME_BYTES, SERIES_OF_AGENT
from loadgen.measure.deltas.series_key import OK, OTHER
from loadgen.measure.deltas.series_numbering import tight_from
from loadgen.measure.histograms.histogram import MAX_NS, slots_of_ns
from tests.support.counts import counts_of


class FakeReply:
    def __init__(self, series: RequestSeries, asked_ns: int, done_ns: int, outcome: str = OK) -> None:
        self.series, self.asked_ns, self.sent_ns, self.done_ns = series, asked_ns, asked_ns, done_ns
        self.first_byte_ns, self.outcome, self.size_bytes = done_ns, outcome, 10


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, MAX_NS), st.booleans()), max_size=60))
def test_whatever_the_flips_the_deltas_add_up_to_what_was_recorded(events: list[tuple[str, int, bool]]) -> None:
    recorder = Recorder()
    deltas: list[Delta] = []
    expected: Counter[tuple[str, int]] = Counter()
    for at, (name, value_ns, flip) in enumerate(events):
        series = recorder.request_series("j", None, name)
        recorder.request(series, 0, 0, value_ns, OK, 0)
        expected[name, int(slots_of_ns(np.array([value_ns]))[0])] += 1
        if flip:
            deltas.append(recorder.flip(at, at + 1))
    deltas.append(recorder.flip(len(events), len(events) + 1))
    seen = counts_of(deltas)
    response = Counter({(k.request, s): n for (k, s), n in seen.items() if k.metric == "response"})
    assert response == expected
    assert sum(d.counters.requests_finished for d in deltas) == len(events)
    assert [d.seq for d in deltas] == list(range(len(deltas)))
    for delta in deltas:
        index = np.frombuffer(delta.index, "<u4").astype(np.int64)
        assert (np.diff(index) > 0).all()
        assert sum(s.n for s in delta.stats) == np.frombuffer(delta.count, "<u4").sum()


def test_a_time_out_is_censored_and_other_failures_are_not() -> None:
    recorder = Recorder()
    series = recorder.request_series("j", "s", "GET /")
    recorder.request(series, 0, 0, 5_000_000, "timeout", 0)
    recorder.request(series, 0, 1, 5_000_000, "http 503", 0)
    keys = recorder.flip(0, 1).new_series
    assert {(k.outcome, k.metric, k.censored) for k in keys} == {
        ("timeout", "response", True),
        ("http 503", "response", False),
        ("http 503", "service", False),
    }


def test_what_is_longer_than_an_hour_is_censored_there_and_still_counted() -> None:
    recorder = Recorder()
    recorder.request(recorder.request_series("j", None, "GET /"), 0, 1, MAX_NS + 5, OK, 0)
    delta = recorder.flip(0, 1)
    rows = {(delta.new_series[s.series].metric, delta.new_series[s.series].censored): s for s in delta.stats}
    assert set(rows) == {("response", True), ("service", True)}
    assert (rows["response", True].n, rows["response", True].max_ns) == (1, MAX_NS)


def test_names_beyond_the_cap_go_into_other_and_it_is_said_once() -> None:
    recorder = Recorder(max_names=3)
    meter = Meter(recorder)
    meter.begin("j", warmup=False, pool_limited=False)
    for i in range(1000):
        meter.hold(FakeReply(meter.ask(f"GET /{i}"), 0, 1000))
    meter.settle()
    keys = recorder.flip(0, 1).new_series
    assert {k.request for k in keys} == {"GET /0", "GET /1", "GET /2", OTHER}
    assert len(recorder.take_notes()) == 1
    assert len(recorder.place("j", None, False).names) == 3  # a million names must not fill the memory


def test_a_sample_is_recorded_once_with_what_the_first_expect_said() -> None:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("j", warmup=False, pool_limited=False)
    wrong = FakeReply(meter.ask("GET /"), 0, 1000)
    meter.hold(wrong)
    meter.settle_as(wrong, "expect status")
    meter.settle_as(wrong, OK)
    meter.settle()
    delta = recorder.flip(0, 1)
    assert {k.outcome for k in delta.new_series} == {"expect status"}
    assert delta.counters.requests_finished == 1
    assert delta.counters.requests_errors == 1


def test_an_http_error_that_was_expected_is_ok() -> None:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("j", warmup=False, pool_limited=False)
    reply = FakeReply(meter.ask("GET /"), 0, 1000, "http 404")
    meter.hold(reply)
    meter.settle_as(reply, OK)
    assert meter.failed is None
    assert recorder.flip(0, 1).counters.requests_errors == 0


def test_an_http_error_that_nobody_looked_at_fails_the_iteration() -> None:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("j", warmup=False, pool_limited=False)
    meter.hold(FakeReply(meter.ask("GET /"), 0, 1000, "http 503"))
    meter.hold(FakeReply(meter.ask("GET /"), 0, 1000))
    meter.settle()
    assert meter.failed == "http 503"


def test_warm_up_has_series_of_its_own_and_counts_in_the_counters() -> None:
    recorder = Recorder()
    meter = Meter(recorder)
    for warmup in (True, False):
        meter.begin("j", warmup=warmup, pool_limited=False)
        meter.hold(FakeReply(meter.ask("GET /"), 0, 1000))
        meter.settle()
    delta = recorder.flip(0, 1)
    assert [k.warmup for k in delta.new_series if k.metric == "response"].count(True) == 1
    assert delta.counters.requests_finished == 2


LOAD = (("load", "spike"),)


def test_two_loads_of_a_journey_have_series_of_their_own() -> None:
    recorder = Recorder()
    for meter in (Meter(recorder), Meter(recorder, LOAD)):
        meter.begin("j", warmup=False, pool_limited=False)
        outer = meter.enter("s")
        meter.hold(FakeReply(meter.ask("GET /"), 0, 1000))
        meter.settle()
        meter.leave(outer, 1, 1, OK, False)
        recorder.iteration(recorder.journey_series("j", tags=meter.tags), 1, 1, None, None, OK, False)
    keys = [k for k in recorder.flip(0, 1).new_series if k.metric == "response"]
    assert sorted((k.kind, k.tags) for k in keys) == sorted(
        (kind, tags) for kind in ("journey", "step", "request") for tags in ((), LOAD)
    )


def test_a_series_is_split_by_what_the_response_said_and_keeps_the_tags_of_its_load() -> None:
    recorder = Recorder()
    meter = Meter(recorder, LOAD)
    meter.begin("j", warmup=False, pool_limited=False)
    for cache in ("hit", "miss", "hit"):
        series = meter.ask("GET /")
        meter.hold(FakeReply(series.split((("x-cache", cache),), 0), 0, 1000))
    meter.settle()
    delta = recorder.flip(0, 1)
    found = {
        delta.new_series[s.series].tags: s.n for s in delta.stats if delta.new_series[s.series].metric == "response"
    }
    assert found == {(*LOAD, ("x-cache", "hit")): 2, (*LOAD, ("x-cache", "miss")): 1}
    assert series.place is not None
    assert series.place.split(series, (("x-cache", "hit"),)) is series.split((("x-cache", "hit"),), 0)


def test_a_header_with_a_new_value_each_time_does_not_fill_the_memory() -> None:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("j", warmup=False, pool_limited=False)
    for n in range(1000):
        meter.hold(FakeReply(meter.ask("GET /").split((("x-request-id", f"{n}" * 300),), 0), 0, 1000))
    meter.settle()
    tags = {k.tags for k in recorder.flip(0, 1).new_series}
    assert len(tags) == MOST_OF_HEADER + 1
    assert (("x-request-id", OTHER),) in tags
    assert max(len(value) for ((_, value),) in tags) == 100
    assert [note.partition(": ")[0][:13] for note in recorder.take_notes()] == ["tag x-request", "more than 20 "]


def test_names_beyond_the_cap_keep_the_tags_of_their_load() -> None:
    recorder = Recorder(max_names=1)
    meter = Meter(recorder, LOAD)
    meter.begin("j", warmup=False, pool_limited=False)
    for n in range(3):
        meter.hold(FakeReply(meter.ask(f"GET /{n}"), 0, 1000))
    meter.settle()
    assert {(k.request, k.tags) for k in recorder.flip(0, 1).new_series} == {("GET /0", LOAD), (OTHER, LOAD)}


# -- names without end ----------------------------------------------------------------------------


def test_a_million_names_of_requests_and_steps_cost_five_hundred_series_and_lose_nothing() -> None:
    recorder = Recorder()
    for n in range(30_000):
        warmup = n % 2 == 0
        place = recorder.place("browse", f"step {n}" if n % 3 == 0 else None, warmup)
        series = place.names.get(f"GET /{n}") or place.resolve(f"GET /{n}")
        recorder.request(series, 0, 1, 1_000_000, OK, 10)
    assert len(recorder._places) <= 2 * (MAX_NAMES + 2)
    assert len(recorder._series) <= 2 * (MAX_NAMES + 2) + 2 * (MAX_NAMES + 2) * (MAX_NAMES + 2)
    delta = recorder.flip(0, 1_000_000_000)
    assert sum(s.n for s in delta.stats) == 2 * 30_000
    notes = recorder.take_notes()
    assert any("step names in browse" in note for note in notes)
    assert any("request names in browse" in note for note in notes)


def test_outcomes_that_are_computed_are_capped_and_still_failures() -> None:
    recorder = Recorder()
    series = recorder.request_series("browse", None, "GET /")
    for n in range(1_000):
        recorder.request(series, 0, 1, 1_000_000, f"pick $.items[{n}]", 10)
    delta = recorder.flip(0, 1_000_000_000)
    outcomes = {key.outcome for key in delta.new_series}
    assert len(outcomes) <= 51
    assert OTHER in outcomes
    assert sum(s.n for s in delta.stats) == 2_000
    assert delta.counters.requests_errors == 1_000


@pytest.mark.parametrize("name", [7, b"GET /", ("a", "b")])
def test_a_name_that_is_no_text_is_told(name: Any) -> None:
    recorder = Recorder()
    with pytest.raises(UsageError, match="invalid request name"):
        recorder.place("browse", None, False).resolve(name)
    with pytest.raises(UsageError, match="invalid step name"):
        recorder.place("browse", name, False)


# -- folding in parts -----------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=8),
    long=st.lists(st.integers(0, 7), max_size=4),
    between=st.integers(0, 3),
)
def test_parts_are_the_whole_whatever_is_recorded_between_them(sizes: list[int], long: list[int], between: int) -> None:
    def filled() -> tuple[Recorder, list[RequestSeries]]:
        recorder = Recorder()
        all_series = [recorder.request_series("browse", None, f"GET /{n}") for n in range(len(sizes))]
        for n, (series, size) in enumerate(zip(all_series, sizes, strict=True)):
            for i in range(size):
                recorder.request(series, 0, 1, 1_000 * (i + 1) + n, OK, 1)
            for _ in range(long.count(n)):
                recorder.request(series, 0, 1, 2 * MAX_NS, "timeout", 1)  # there is a censored series already
                recorder.request(series, 0, 1, 2 * MAX_NS, "http 503", 1)  # and one comes to be in this part
        return recorder, all_series

    whole = filled()[0].flip(0, 10)
    recorder, all_series = filled()
    parts = recorder.flip_in_parts(0, 10)
    count = 0
    while True:
        try:
            next(parts)
        except StopIteration as done:
            delta: Delta = done.value
            break
        count += 1
        for _ in range(between):
            recorder.request(all_series[0], 0, 1, 5_000, OK, 1)
    assert counts_of([delta]) == counts_of([whole])
    assert delta.counters == whole.counters
    assert (np.diff(np.frombuffer(delta.index, dtype="<u4").astype(np.int64)) > 0).all()
    assert count >= 1 + sum(sizes) * 2 // (2 * PART)
    assert recorder.flip(10, 20).counters.requests_finished == count * between


def test_a_name_that_is_too_long_is_cut_with_a_mark_and_its_counts_are_exact() -> None:
    recorder, url = Recorder(), "GET /" + "x" * 100_000
    place = recorder.place("shop", "s" * 300, False)
    for n in range(10):
        series = place.resolve(url)
        recorder.counters.requests_started += 1
        outcome = OK if n else "e" * 1_000
        if recorder.request(series, 1, 2, 1_000_001, outcome, 10):
            recorder.exemplars.saw(series, outcome, 1, 1_000_000, 0, n, 0, "")
    delta = recorder.flip(0, 1_000_000_000)
    keys = [key for key in delta.new_series if key.metric == "response"]
    for key in delta.new_series:
        for text in (key.step or "", key.request or "", key.outcome):
            assert len(text.encode()) <= NAME_BYTES
    assert {key.request for key in keys} == {one.request for one in delta.exemplars}
    assert {key.step for key in keys} == {one.step for one in delta.exemplars}
    assert any((key.request or "").endswith(" ... (100,005 bytes)") for key in keys)
    assert sum(s.n for s in delta.stats if delta.new_series[s.series].metric == "response") == 10
    assert delta.counters.requests_finished == 10


def test_more_series_than_an_agent_may_have_are_merged_and_lose_nothing() -> None:
    recorder = Recorder()
    for n in range(20_000):
        series = recorder.request_series("shop", f"s{n // 400}", f"GET /{n}")
        recorder.request(series, 1, 0, 1_000_001, OK, 10)
    first = recorder.flip(0, 1_000_000_000, lambda _lag, _response: Health(notes=recorder.take_notes()))
    assert tight_from(SERIES_OF_AGENT) <= len(first.new_series) <= SERIES_OF_AGENT
    assert sum(s.n for s in first.stats) == 20_000
    assert [note for note in first.health.notes if "series" in note] == [
        "more than 16,000 series: new series are in (other)"
    ]
    for n in range(20_000):
        series = recorder.request_series("shop", f"s{n // 400}", f"GET /{n}")
        recorder.request(series, 1, 0, 1_000_001, OK, 10)
    second = recorder.flip(1_000_000_000, 2_000_000_000)
    assert second.new_series == ()
    assert sum(s.n for s in second.stats) == 20_000
