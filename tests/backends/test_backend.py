"""The reading of many traces: in which order, how often missing ones are asked for, and what is told before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from loadgen.backends.backend import (
    Answer,
    CallPlan,
    Found,
    Missing,
    OnProgress,
    Progress,
    Refused,
    alternated,
    no_progress,
    normal_id,
    picked,
    read_until_still,
)
from loadgen.errors import UsageError
from loadgen.traces.model import Span, Trace

IDS = [f"{n:032x}" for n in range(1, 8)]


def trace(trace_id: str, *, is_cut: bool = False) -> Trace:
    return Trace(trace_id, (Span("a" * 16, "", "shop", "GET /", 0, 1),), is_cut)


class Late:
    """A backend in which a trace arrives at a time of the clock; None: never."""

    def __init__(self, **arrivals: float | None) -> None:
        self.arrivals, self.now_s = arrivals, 0.0
        self.asked: list[list[str]] = []

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, number)

    def close(self) -> None:
        """Nothing is open."""

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        self.asked.append(list(ids))
        for one in ids:
            at_s = self.arrivals[one]
            yield one, Found(trace(IDS[0])) if at_s is not None and self.now_s >= at_s else Missing()


def answers(backend: Late, wait_s: float = 120.0, ended_ago_s: float = 30.0, **more: OnProgress) -> dict[str, bool]:
    found = read_until_still(
        backend,
        list(backend.arrivals),
        wait_s,
        ended_ago_s=ended_ago_s,
        pause=backend.pause,
        clock=backend.clock,
        **more,
    )
    return {one: isinstance(answer, Found) for one, answer in found}


def test_slow_and_baseline_ids_alternate_so_that_both_are_read_if_the_reading_ends_early() -> None:
    assert alternated(["s1", "s2", "s3", "s4"], ["b1", "s2", "b3"]) == ["s1", "b1", "s2", "s3", "b3", "s4"]
    assert alternated([], ["b1"]) == ["b1"]


def test_missing_traces_are_asked_for_until_all_are_there_and_found_ones_never_again() -> None:
    backend = Late(a=0, b=3, c=9)
    assert answers(backend) == {"a": True, "b": True, "c": True}
    assert backend.asked == [["a", "b", "c"], ["b", "c"], ["b", "c"], ["c"]]
    assert backend.now_s == 10


def test_asking_ends_when_the_number_of_found_traces_stands_still() -> None:
    backend = Late(a=0, b=None)
    assert answers(backend) == {"a": True, "b": False}
    assert backend.now_s == 5


def test_asking_lasts_longer_while_no_trace_was_found_at_all() -> None:
    backend = Late(a=15, b=None)
    assert answers(backend) == {"a": True, "b": False}
    assert backend.now_s > 15


def test_asking_never_lasts_longer_than_the_wait() -> None:
    backend = Late(a=None)
    assert answers(backend, wait_s=4) == {"a": False}
    assert backend.now_s == 2

    backend = Late(a=None)
    assert answers(backend, wait_s=0) == {"a": False}
    assert (backend.now_s, len(backend.asked)) == (0, 1)


def test_the_last_spans_of_a_run_that_has_just_ended_are_waited_for_once() -> None:
    said: list[Progress] = []
    backend = Late(a=0)
    assert answers(backend, ended_ago_s=1.0, on_progress=said.append) == {"a": True}
    assert backend.now_s == 5
    assert said[0].note == "waiting 5 s for the last spans of the run"


def test_traces_of_an_old_run_are_missing_for_good() -> None:
    backend = Late(a=None)
    assert answers(backend, ended_ago_s=3_600) == {"a": False}
    assert (backend.now_s, len(backend.asked)) == (0, 1)


def test_a_pause_says_what_it_is_for() -> None:
    said: list[Progress] = []
    answers(Late(a=0, b=None, c=None), on_progress=said.append)
    assert said[0] == Progress(1, 3, "2 traces not there yet: asking again in 2 s")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("ABCDEF0123456789ABCDEF0123456789", "abcdef0123456789abcdef0123456789"),
        ("1-6a000000-0000000000000000000000a1", "6a0000000000000000000000000000a1"),
        (" 00000000000000a1 ", "0" * 30 + "a1"),
        ("a1", "0" * 30 + "a1"),
    ],
)
def test_ids_in_all_notations_are_one(text: str, want: str) -> None:
    assert normal_id(text) == want


@pytest.mark.parametrize("text", ["", "xyz", "0" * 32, "a" * 33, "1-6a000000-00", "\x1b[31m"])
def test_a_text_that_is_no_trace_id_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a trace id") as caught:
        normal_id(text)
    assert caught.value.message.isprintable()


def test_the_answer_for_an_id_is_picked_from_what_came() -> None:
    both = [trace(IDS[0]), trace(IDS[1])]
    assert picked(both, IDS[1]) == Found(trace(IDS[1]))
    assert picked([trace(IDS[0]), trace(IDS[0], is_cut=True)], IDS[0]) == Found(
        Trace(IDS[0], trace(IDS[0]).spans * 2, is_cut=True)
    )
    assert picked([], IDS[0]) == Missing()
    assert picked([Trace(IDS[0], ())], IDS[0]) == Missing()
    assert isinstance(picked(both, IDS[2]), Refused)


def test_a_plan_of_calls_reads_as_a_sentence() -> None:
    assert str(CallPlan(120, 120, 60)) == "120 traces, 2 min at 60 a minute"
    assert str(CallPlan(125, 125, 60)) == "125 traces, 2.1 min at 60 a minute"
    assert str(CallPlan(10, 10, 5)) == "10 traces, 2 min at 5 a minute"
    assert str(CallPlan(1, 1, 60)) == "1 trace, 1 s at 60 a minute"
    assert str(CallPlan(1_000, 10)) == "1,000 traces in 10 calls"
    assert str(CallPlan(5, 2, noun="file")) == "5 traces in 2 files"
