"""Whoever offers never waits; what does not get through is dropped and counted; the last is tried again."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from loadgen.sinks.output_queue import DEPTH, Feed
from loadgen.units import NS_PER_S
from tests.support.sinks import KeepingSink, eventually, snapshot

ONE = snapshot(1.0)
LAST = snapshot(1.0, is_final=True)


def test_snapshots_arrive_in_their_order_and_are_counted() -> None:
    sink = KeepingSink()
    feed = Feed(sink)
    tally = feed.tally("run")
    several = [replace(ONE, k=k, end_ns=k) for k in range(5)]
    for one in several:
        feed.offer(one, tally)
        feed.wait(tally, time.monotonic() + 60)
    assert sink.got == several
    assert tally.row() == {"kind": "kept", "where": "here", "sent": 5, "dropped": 0, "trouble": None}


def test_a_sink_that_hangs_costs_whoever_offers_nothing_and_the_oldest_are_dropped() -> None:
    sink = KeepingSink()
    sink.may_go_on.clear()
    feed = Feed(sink)
    tally = feed.tally("run")
    feed.offer(ONE, tally)
    eventually(lambda: sink.tries == 1)
    for k in range(1, 100):  # would last for ever if one of them waited
        feed.offer(replace(ONE, k=k), tally)
    assert tally.dropped == 99 - DEPTH
    sink.may_go_on.set()
    feed.wait(tally, time.monotonic() + 60)
    assert [one.k for one in sink.got] == [0, *range(100 - DEPTH, 100)]
    assert (tally.sent, tally.dropped) == (1 + DEPTH, 99 - DEPTH)
    assert "too slow" in tally.trouble


def test_the_last_of_a_run_is_never_the_one_that_is_dropped() -> None:
    sink = KeepingSink()
    sink.may_go_on.clear()
    feed = Feed(sink)
    tally, other = feed.tally("run"), feed.tally("other")
    feed.offer(ONE, tally)
    eventually(lambda: sink.tries == 1)
    feed.offer(LAST, tally)
    for k in range(20):
        feed.offer(replace(ONE, k=k), other)
    sink.may_go_on.set()
    feed.wait(tally, time.monotonic() + 60)
    assert LAST in sink.got


def test_what_is_refused_is_dropped_and_the_next_one_gets_through() -> None:
    sink = KeepingSink("http 503")
    feed = Feed(sink)
    tally = feed.tally("run")
    feed.offer(ONE, tally)
    feed.wait(tally, time.monotonic() + 60)
    assert (tally.sent, tally.dropped, tally.trouble, tally.is_failing) == (0, 1, "http 503", True)
    sink.trouble = ""
    feed.offer(ONE, tally)
    feed.wait(tally, time.monotonic() + 60)
    assert (tally.sent, tally.dropped, tally.trouble, tally.is_failing) == (1, 1, "http 503", False)


def test_the_last_is_tried_again_until_it_gets_through() -> None:
    sink = KeepingSink("refused")
    feed = Feed(sink)
    tally = feed.tally("run")
    feed.try_until(time.monotonic() + 60)
    feed.offer(LAST, tally)
    eventually(lambda: sink.tries >= 2)
    sink.trouble = ""
    feed.wait(tally, time.monotonic() + 60)
    assert sink.got == [LAST]
    assert (tally.sent, tally.dropped) == (1, 0)


def test_what_is_given_up_counts_as_dropped_and_says_so_whatever_comes_of_it_later() -> None:
    sink = KeepingSink()
    sink.may_go_on.clear()
    feed = Feed(sink)
    tally = feed.tally("run")
    feed.offer(ONE, tally)
    eventually(lambda: sink.tries == 1)
    feed.offer(LAST, tally)
    feed.give_up(tally, "it took too long")
    sink.may_go_on.set()
    eventually(lambda: sink.got != [])
    feed.close()
    assert (tally.sent, tally.dropped, tally.trouble) == (0, 2, "it took too long")


def test_a_bug_of_a_sink_is_told_and_ends_neither_it_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(KeepingSink):
        def deliver(self, snapshot: object) -> None:
            self.tries += 1
            raise KeyError("x")

    feed = Feed(Broken())
    tally = feed.tally("run")
    for _ in range(2):
        feed.offer(ONE, tally)
        feed.wait(tally, time.monotonic() + 60)
    assert (tally.dropped, tally.trouble) == (2, "bug in loadgen, please report it: KeyError: 'x'")
    assert "failed" in caplog.text


def test_snapshots_closer_together_than_asked_are_left_out_and_not_the_last() -> None:
    sink = KeepingSink()
    feed = Feed(sink, every_ns=3 * NS_PER_S)
    tally = feed.tally("run")
    for k in range(8):
        feed.offer(replace(ONE, k=k, end_ns=(k + 1) * NS_PER_S), tally)
        feed.wait(tally, time.monotonic() + 60)
    feed.offer(replace(LAST, end_ns=8 * NS_PER_S + 1), tally)
    feed.wait(tally, time.monotonic() + 60)
    assert [one.k for one in sink.got] == [0, 3, 6, -1]
    assert tally.dropped == 0
