"""What is picked stands for the many: the slowest is the slowest, what is random is uniform, and all is bounded."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.recording.exemplars import Exemplars, kept_of_one
from loadgen.engine.recording.failure_samples import FIRST, MAX_A_RUN, FailureBook
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import MAX_FAILURES, Exemplar, Failure, check_exemplars
from loadgen.measure.deltas.series_key import CUT_OFF, MISSED, OK, SKIPPED
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S
from tests.support.examples import examples


class Reply:
    """A client's sample, with what it can say of itself."""

    def __init__(
        self, series: RequestSeries, asked_ns: int, response_ns: int, outcome: str = OK, trace: str = ""
    ) -> None:
        self.series, self.asked_ns, self.sent_ns, self.done_ns = series, asked_ns, asked_ns + 5, asked_ns + response_ns
        self.first_byte_ns, self.outcome, self.size_bytes, self.trace = self.done_ns, outcome, 10, trace
        self.asked = 0

    def exchange(self) -> tuple[str, str]:
        self.asked += 1
        return f"GET /cart HTTP/1.1\r\nCookie: sid=QZX\r\nX-Asked: {self.asked_ns}", "HTTP/1.1 500\r\n\r\n{}"


class Bare:
    """A sample that has no exchange and no trace: `user.measure`."""

    def __init__(self, series: RequestSeries, outcome: str) -> None:
        self.series, self.outcome, self.size_bytes = series, outcome, 0
        self.asked_ns = self.sent_ns = 1
        self.first_byte_ns = self.done_ns = 100


def meter_of(recorder: Recorder, n: int = 0, load: int = 0) -> Meter:
    meter = Meter(recorder)
    meter.begin("shop", warmup=False, pool_limited=False, n=n, load=load)
    return meter


def asked(meter: Meter, response_ns: int, outcome: str = OK, *, at_ns: int = 10, trace: str = "") -> Reply:
    reply = Reply(meter.ask("GET /cart"), at_ns, response_ns, outcome, trace)
    meter.hold(reply)
    meter.settle()
    return reply


def by_why(delta: Delta) -> dict[str, list[Exemplar]]:
    found: dict[str, list[Exemplar]] = {}
    for one in delta.exemplars:
        found.setdefault(one.why, []).append(one)
    return found


# -- exemplars --------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(st.integers(5, 10_000), st.booleans()), max_size=40), max_size=4))
def test_of_each_interval_come_the_slowest_two_failed_and_two_others(
    intervals: list[list[tuple[int, bool]]],
) -> None:
    recorder = Recorder()
    n = 0
    for requests in intervals:
        values: dict[int, tuple[int, bool]] = {}
        for response_ns, is_ok in requests:
            n += 1
            values[n] = (response_ns, is_ok)
            asked(meter_of(recorder, n), response_ns, OK if is_ok else "http 503")
        delta = recorder.flip(0, 1)
        found = by_why(delta)
        fine = {n: response_ns for n, (response_ns, is_ok) in values.items() if is_ok}
        bad = [n for n, (_, is_ok) in values.items() if not is_ok]
        assert [one.response_ns for one in found.get("slowest", [])] == ([max(fine.values())] if fine else [])
        assert [one.n for one in found.get("failed", [])] == bad[:2]
        picked = [one.n for one in found.get("random", [])]
        slowest = [one.n for one in found.get("slowest", [])]
        assert len(set(picked + slowest)) == len(picked) + len(slowest)
        assert min(len(fine), 2) <= len(picked) + len(slowest) <= min(len(fine), 3)
        for one in delta.exemplars:
            assert one.response_ns == values[one.n][0]
            assert (one.outcome == OK) == values[one.n][1]


def test_an_exemplar_says_which_arrival_of_which_load_with_its_trace_and_times() -> None:
    recorder = Recorder()
    recorder.t0_ns = 1_000
    meter = meter_of(recorder, n=4711, load=2)
    meter.enter("browse")
    reply = Reply(meter.ask("GET /cart"), 1_500, 700, trace="a" * 32)
    meter.hold(reply)
    meter.settle()
    assert recorder.flip(0, 1).exemplars == (
        Exemplar("shop", "browse", "GET /cart", OK, "slowest", 2, 4711, 500, 700, 695, "a" * 32),
    )


def test_the_random_ones_are_any_of_the_interval_with_the_same_chance() -> None:
    """Of 20 requests two: each in 10 % of 8,000 intervals; chi-squared with 19 degrees of freedom, 0.1 % at 43.8."""
    recorder = Recorder()
    recorder.exemplars = Exemplars(random=Random(4))
    series = recorder.request_series("j", None, "GET /")
    seen: Counter[int] = Counter()
    rounds, of = 8_000, 20
    for _ in range(rounds):
        for n in range(of):
            # The first is the slowest and so no random pick of its own; it is left out of the count below.
            response_ns = 100 if n == 0 else 50
            if recorder.request(series, 0, 1, response_ns, OK, 0):
                recorder.exemplars.saw(series, OK, 0, response_ns, 0, n, 0, "")
        seen.update(one.n for one in recorder.flip(0, 1).exemplars if one.why == "random")
    expected = rounds * 2 / of
    assert sum((seen[n] - expected) ** 2 / expected for n in range(1, of)) < 43.8


def test_journeys_have_exemplars_of_their_own_and_what_was_missed_or_skipped_is_none() -> None:
    recorder = Recorder()
    series = recorder.journey_series("shop")
    recorder.iteration(series, 900, 900, 0, 0, OK, False, 5, n=7, load=1)
    recorder.iteration(series, 300, 300, 0, 0, SKIPPED, False, 5, n=8)
    recorder.iteration(series, 400, 400, 0, 0, "fail: no stock", False, 6, n=9, load=1)
    recorder.cut_off(series, 500, 500, 0, 0, 7, n=10)
    recorder.missed(series, 9_999, 8)
    assert [(e.why, e.outcome, e.n, e.load, e.at_ns, e.response_ns) for e in recorder.flip(0, 1).exemplars] == [
        ("failed", "fail: no stock", 9, 1, 6, 400),
        ("failed", CUT_OFF, 10, 0, 7, 500),
        ("slowest", OK, 7, 1, 5, 900),
    ]
    assert MISSED not in {e.outcome for e in recorder.flip(1, 2).exemplars}


def test_with_many_series_failures_go_first_then_the_slowest_and_it_is_said_how_many_were_left_out() -> None:
    recorder = Recorder(max_exemplars=150)
    meter = meter_of(recorder)
    for n in range(100):
        for response_ns in (10, 20, 30, 40):
            meter.hold(Reply(meter.ask(f"GET /{n}"), 0, response_ns))
        meter.hold(Reply(meter.ask(f"GET /{n}"), 0, 50, "http 503"))
    meter.settle()
    delta = recorder.flip(0, 1)
    assert len(delta.exemplars) == 150
    assert len(by_why(delta)["failed"]) == 100
    assert len(by_why(delta)["slowest"]) == 50
    check_exemplars("delta", delta.exemplars, delta.failures)
    notes = [note for note in recorder.take_notes() if "exemplars" in note]
    assert len(notes) == 1
    assert notes[0].startswith(f"{recorder.exemplars.left_out:,} exemplars left out")


def test_a_recorder_may_keep_no_exemplars() -> None:
    recorder = Recorder(max_exemplars=0)
    asked(meter_of(recorder), 10)
    assert recorder.flip(0, 1).exemplars == ()


def test_a_large_fleet_sends_few_of_each_agent() -> None:
    assert [kept_of_one(n) for n in (1, 50, 100, 1_000, 5_000)] == [200, 200, 100, 10, 5]


# -- failures ---------------------------------------------------------------------------------


def test_a_failed_request_is_kept_whole_with_what_the_end_of_its_iteration_said() -> None:
    recorder = Recorder()
    recorder.t0_ns = 4
    meter = meter_of(recorder, n=7, load=1)
    meter.enter("pay")
    asked(meter, 700, "expect status", at_ns=10, trace="b" * 32)
    meter.end_iteration("expect status", "got 500, expected 201", "shop.py:7 in shop", "frames", {"user": "a"})
    assert recorder.flip(0, 1).failures == (
        Failure(
            "shop",
            "pay",
            "GET /cart",
            "expect status",
            load=1,
            n=7,
            at_ns=6,
            response_ns=700,
            detail="got 500, expected 201",
            where="shop.py:7 in shop",
            traceback="frames",
            row='{"user": "a"}',
            sent="GET /cart HTTP/1.1\r\nCookie: ****\r\nX-Asked: 10",
            received="HTTP/1.1 500\r\n\r\n{}",
            trace="b" * 32,
        ),
    )


def test_only_the_first_few_of_each_kind_are_kept_and_only_they_cost_anything() -> None:
    recorder = Recorder()
    replies, said = [], []

    def traceback() -> str:
        said.append(1)
        return "frames"

    for n in range(50):
        meter = meter_of(recorder, n)
        replies.append(asked(meter, 10, "http 503"))
        meter.end_iteration("http 503", "", "", traceback)
    failures = recorder.flip(0, 1).failures
    assert [failure.n for failure in failures] == list(range(FIRST))
    assert sum(reply.asked for reply in replies) == len(said) == FIRST


def test_what_belongs_to_no_request_shows_the_exchange_before_it() -> None:
    recorder = Recorder()
    meter = meter_of(recorder, n=3)
    asked(meter, 10, at_ns=77)
    meter.end_iteration("script KeyError", "KeyError: 'sku'", "shop.py:9 in shop", "frames", None)
    (failure,) = recorder.flip(0, 1).failures
    assert (failure.request, failure.outcome, failure.n) == ("", "script KeyError", 3)
    assert "X-Asked: 77" in failure.sent
    assert failure.row == ""


def test_an_iteration_that_failed_before_its_first_request_is_kept_too() -> None:
    recorder = Recorder()
    recorder.t0_ns = 500
    meter = meter_of(recorder)
    meter.end_iteration("fail: no stock", "no stock")
    (failure,) = recorder.flip(0, 1).failures
    assert (failure.outcome, failure.sent, failure.received, failure.at_ns) == ("fail: no stock", "", "", 0)


def test_an_iteration_whose_request_failed_is_one_failure_and_not_two() -> None:
    recorder = Recorder()
    for n in range(2 * FIRST):
        meter = meter_of(recorder, n)
        asked(meter, 10, "timeout")
        meter.end_iteration("timeout")
    assert {failure.request for failure in recorder.flip(0, 1).failures} == {"GET /cart"}


def test_a_failure_that_the_journey_caught_is_kept_with_its_row() -> None:
    recorder = Recorder()
    meter = meter_of(recorder)
    asked(meter, 10, "http 503")
    asked(meter, 10, "timeout")
    meter.end_iteration("timeout", "no answer", row={"sku": 1})
    first, second = recorder.flip(0, 1).failures
    assert (first.outcome, first.detail, first.row) == ("http 503", "", '{"sku": 1}')
    assert (second.outcome, second.detail, second.row) == ("timeout", "no answer", '{"sku": 1}')


EVENTS = st.lists(
    st.one_of(
        st.sampled_from(["begin", "flip"]),
        st.tuples(st.just("request"), st.sampled_from([OK, "http 503", "timeout"])),
        st.tuples(
            st.just("end"), st.sampled_from(["http 503", "timeout", "fail: x", "script KeyError", "set-up timeout"])
        ),
    ),
    max_size=20,
)


@given(EVENTS)
def test_whatever_happens_each_failure_leaves_once_with_its_own_arrival(events: list[str | tuple[str, str]]) -> None:
    recorder = Recorder()
    meter = meter_of(recorder, 0)
    n = 0
    seen: Counter[tuple[str, str, int]] = Counter()
    failures: list[Failure] = []
    for at, event in enumerate(events):
        match event:
            case "begin":
                n += 1
                meter.begin("shop", warmup=False, pool_limited=False, n=n)
            case "flip":
                failures += recorder.flip(at, at + 1).failures
            case ("request", outcome):
                asked(meter, 10, outcome, at_ns=at)
                if outcome != OK:
                    seen["GET /cart", outcome, n] += 1
            case ("end", outcome):
                is_of_request = seen["GET /cart", outcome.removeprefix("set-up "), n] > 0
                meter.end_iteration(outcome, "detail")
                if not is_of_request:
                    seen["", outcome, n] += 1
                n += 1
                meter.begin("shop", warmup=False, pool_limited=False, n=n)
    recorder.failures.finish()
    failures += recorder.flip(len(events), len(events) + 1).failures
    left = Counter((failure.request, failure.outcome, failure.n) for failure in failures)
    assert left <= seen
    kinds = Counter[tuple[str, str]]()
    for (request, outcome, _), count in seen.items():
        kinds[request, outcome] += count
    kept = Counter((failure.request, failure.outcome) for failure in failures)
    assert kept == {kind: min(count, FIRST) for kind, count in kinds.items()}


def test_names_of_any_length_can_be_sent() -> None:
    recorder = Recorder()
    meter = meter_of(recorder)
    for n in range(300):
        meter.hold(Reply(meter.ask(f"GET /{n}" + "x" * 9_000), 0, 10))
    meter.settle()
    assert sum(len(repr(one)) for one in recorder.flip(0, 1).exemplars) < 300_000


def test_a_failure_waits_for_the_end_of_its_iteration_but_not_for_ever() -> None:
    recorder = Recorder()
    meter = meter_of(recorder)
    asked(meter, 10, "http 503")
    assert recorder.flip(0, NS_PER_S).failures == ()
    assert len(recorder.flip(NS_PER_S, 11 * NS_PER_S).failures) == 1
    meter.end_iteration("http 503", "too late to be told")
    assert recorder.flip(11 * NS_PER_S, 12 * NS_PER_S).failures == ()


def test_the_next_iteration_lets_go_of_what_was_not_told() -> None:
    recorder = Recorder()
    meter = meter_of(recorder, 1)
    asked(meter, 10, "http 503")
    meter.begin("shop", warmup=False, pool_limited=False, n=2)
    assert [failure.n for failure in recorder.flip(0, 1).failures] == [1]


def test_at_the_end_of_a_run_nothing_waits() -> None:
    recorder = Recorder()
    asked(meter_of(recorder), 10, "http 503")
    recorder.failures.finish()
    assert len(recorder.flip(0, 1).failures) == 1


def test_a_sample_without_an_exchange_is_kept_as_what_it_is() -> None:
    recorder = Recorder()
    meter = meter_of(recorder)
    meter.hold(Bare(meter.ask("sign"), "timeout"))
    meter.end_iteration("timeout", "too slow")
    (failure,) = recorder.flip(0, 1).failures
    assert (failure.request, failure.sent, failure.detail) == ("sign", "", "too slow")


def test_any_number_of_kinds_is_bounded_and_said() -> None:
    recorder = Recorder()
    kept = 0
    for interval in range(60):
        for n in range(40):
            meter = meter_of(recorder)
            meter.hold(Reply(meter.ask(f"GET /{interval}"), 0, 10, f"http {n}"))
            meter.end_iteration(f"http {n}")
        failures = recorder.flip(interval, interval + 1).failures
        assert len(failures) <= MAX_FAILURES
        kept += len(failures)
    assert kept == MAX_A_RUN
    assert any("failures left out" in note for note in recorder.take_notes())


@settings(max_examples=examples(50))
@given(st.integers(0, 60_000), st.sampled_from(["x", "\u20ac", "\U0001f600", "\ud800"]))
def test_however_long_the_texts_a_delta_can_be_sent(length: int, letter: str) -> None:
    book = FailureBook(Redactor())
    for n in range(20):
        text = letter * length
        draft = book.draft(Failure("j", "s" * length, text, f"http {n}", 0, n, 0, 1, sent=text, received=text), 0)
        book.complete(draft, text, text, text, {"column": text})
    taken: list[Failure] = []
    while some := book.take(0, 0):
        check_exemplars("delta", (), some)
        assert sum(len(repr(failure).encode("utf-8")) for failure in some) < 900_000
        taken += some
    assert [failure.n for failure in taken] == list(range(20))


@pytest.mark.parametrize("outcome", ["http 503", "script KeyError"])
def test_secrets_leave_neither_in_texts_nor_in_names(outcome: str) -> None:
    recorder = Recorder(redactor=Redactor(lambda: ["hunter2"]))
    meter = meter_of(recorder)
    meter.enter("login hunter2")
    meter.hold(Reply(meter.ask("GET /reset/hunter2"), 0, 10, "http 503"))
    meter.settle()
    meter.end_iteration(outcome, "hunter2", "hunter2", "hunter2", {"a": "hunter2", "hunter2": 1})
    failures = recorder.flip(0, 1).failures
    assert len(failures) == (1 if outcome == "http 503" else 2)
    assert "hunter2" not in repr(failures)
    assert "QZX" not in repr(failures)
