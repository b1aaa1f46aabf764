"""A run tells each complete interval once, late agents are waited for as on screen, and the end tells all."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time

from rich.console import Console

from loadgen.measure.merging.merge import Merge
from loadgen.sinks.live_outputs import Outputs, RunOutputs, Sight
from loadgen.sinks.output_queue import Feed
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller.launch.launcher import _linger
from tests.support.deltas import request_key
from tests.support.sinks import RUN, STARTED_NS, Fleet, KeepingSink, counts_of, eventually
from tests.support.wire import until

ROW = ("checkout", "GET /", "ok", "eu")


class Run:
    """A run whose clock is set by hand."""

    def __init__(self, *sinks: KeepingSink, **regions: str) -> None:
        self.fleet = Fleet(**(regions or {"a": "eu", "b": "eu"}))
        self.clock_ns: int | None = 0
        self.live = set(self.fleet.regions)
        self.is_broken = False
        self.notices: list[str] = []
        self.outputs = Outputs([Feed(sink) for sink in sinks])
        self.told: RunOutputs = self.outputs.of_run(RUN, self._sight, self.notices.append)

    def _sight(self) -> Sight:
        if self.is_broken:
            raise ZeroDivisionError("division by zero")
        return Sight(self.fleet.merge, self.live, self.clock_ns, STARTED_NS)

    def report(self, agent: str, k: int, n: int = 1) -> None:
        self.fleet.report(agent, k, {request_key(): [NS_PER_MS] * n})

    async def tell(self, clock_s: float, sink: KeepingSink, expected: int) -> None:
        self.clock_ns = round(clock_s * NS_PER_S)
        await self.told.send()
        eventually(lambda: len(sink.got) >= expected)


async def test_an_interval_is_told_once_and_when_all_have_reported_it() -> None:
    sink = KeepingSink()
    run = Run(sink)
    run.report("a", 0)
    await run.tell(1.1, sink, 0)
    assert sink.got == []
    run.report("b", 0)
    await run.tell(1.2, sink, 1)
    await run.tell(1.3, sink, 1)
    assert [(one.k, counts_of(one)[ROW]) for one in sink.got] == [(0, 2)]


async def test_who_is_late_is_waited_for_no_longer_than_1500_ms_and_is_in_the_next_interval() -> None:
    sink = KeepingSink()
    run = Run(sink)
    run.report("a", 0, 3)
    await run.tell(2.4, sink, 0)
    assert sink.got == []
    await run.tell(2.6, sink, 1)
    run.report("b", 0, 4)
    run.report("a", 1)
    run.report("b", 1)
    await run.tell(2.7, sink, 2)
    assert [(one.k, counts_of(one)[ROW]) for one in sink.got] == [(0, 3), (1, 9)]


async def test_intervals_that_become_complete_together_are_all_told_in_their_order() -> None:
    sink = KeepingSink()
    run = Run(sink)
    for k in range(3):
        run.report("a", k)
    await run.tell(1.1, sink, 0)
    for k in range(3):
        run.report("b", k)
    await run.tell(3.1, sink, 1)
    assert sink.got[0].k == 2  # nothing was told before: begin with the newest
    for agent in "ab":
        for k in (3, 4, 5):
            run.report(agent, k)
    await run.tell(6.1, sink, 4)
    assert [(one.k, counts_of(one)[ROW]) for one in sink.got[1:]] == [(3, 8), (4, 10), (5, 12)]


async def test_the_end_tells_all_that_was_merged_also_what_came_after_its_interval_was_told() -> None:
    sink = KeepingSink()
    run = Run(sink)
    run.report("a", 0)
    run.report("b", 0)
    await run.tell(1.1, sink, 1)
    run.report("a", 1, 7)  # of b nothing comes any more
    rows = await run.told.end()
    assert counts_of(sink.got[-1])[ROW] == run.fleet.merge.counters().requests_finished == 9
    assert sink.got[-1].is_final
    assert rows == [{"kind": "kept", "where": "here", "sent": 2, "dropped": 0, "trouble": None}]
    assert run.notices == []


async def test_times_ascend_also_where_the_last_interval_was_reported_before_it_was_over() -> None:
    sink = KeepingSink()
    run = Run(sink, a="eu")
    run.report("a", 0)
    await run.tell(1.1, sink, 1)
    run.report("a", 1)  # its last: it has finished
    await run.tell(1.2, sink, 2)
    await run.told.end()
    assert [one.end_ns / NS_PER_MS for one in sink.got] == [1000, 1200, 1201]


async def test_the_end_of_a_run_waits_for_a_sink_that_hangs_as_long_as_it_is_told_and_says_what_is_lost() -> None:
    sink, good = KeepingSink(), KeepingSink()
    sink.may_go_on.clear()
    run = Run(sink, good)
    run.report("a", 0)
    run.report("b", 0)
    await run.tell(1.1, good, 1)
    rows = await run.told.end(patience_s=0.2)
    assert [(row["sent"], row["dropped"]) for row in rows] == [(0, 2), (2, 0)]
    assert rows[0]["trouble"] == "the last figures were not delivered within 0.2 s"
    assert run.notices == [
        "output kept here: delivered never, 2 dropped; the last figures were not delivered within 0.2 s"
    ]
    run.outputs.close()


async def test_a_person_is_told_when_an_output_fails_and_when_it_is_back() -> None:
    sink = KeepingSink("http 503")
    run = Run(sink, a="eu")
    run.report("a", 0)
    await run.tell(1.1, sink, 0)
    feed, tally = run.told._tallies[0]
    feed.wait(tally, time.monotonic() + 60)
    await run.told.send()
    sink.trouble = ""
    run.report("a", 1)
    await run.tell(2.1, sink, 1)
    feed.wait(tally, time.monotonic() + 60)
    await run.told.send()
    assert run.notices == [
        "output kept here fails: http 503",
        "output kept here works again; 1 dropped so far",
    ]


async def test_nobody_is_waited_for_who_never_came_or_has_the_last_figures() -> None:
    sink = KeepingSink()
    said: list[str] = []
    await Outputs([Feed(sink)]).linger("run", asyncio.Event(), said.append)
    assert said == []


async def test_ctrl_c_ends_the_wait_for_a_last_scrape() -> None:
    class Awaiting(KeepingSink):
        def awaits_s(self, run_id: str) -> float:
            return 1e9

    console = Console(file=io.StringIO())
    waiting = asyncio.create_task(_linger(Outputs([Feed(Awaiting())]), "run", console))
    await until(lambda: "waiting up to" in console.file.getvalue())  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(waiting, 60)


async def test_where_there_is_no_output_no_snapshot_is_made_and_nothing_runs_beside() -> None:
    def never() -> Sight:
        raise AssertionError("nobody asked for figures")

    told = Outputs().of_run(RUN, never, print)
    told.begin()
    assert told._serving is None
    assert await told.end() == []


async def test_of_a_run_that_never_began_nothing_is_told() -> None:
    sink = KeepingSink()
    run = Run(sink)
    run.clock_ns, run.fleet.merge = None, Merge()
    run.told.begin()
    (row,) = await run.told.end()
    assert sink.got == []
    assert row["trouble"] == "no client has requested the figures"


async def test_a_bug_while_intervals_are_told_is_a_trouble_of_the_outputs_and_not_the_end_of_the_run() -> None:
    sink = KeepingSink()
    run = Run(sink, a="eu")
    run.report("a", 0)
    run.is_broken = True
    run.told.begin()
    assert run.told._serving is not None
    await asyncio.wait((run.told._serving,), timeout=60)
    run.is_broken, run.clock_ns = False, NS_PER_S
    (row,) = await run.told.end()
    assert row["sent"] == 1  # the end is told all the same
    assert run.notices == [
        "output kept here: delivered 1 times, 0 dropped; "
        "bug in loadgen, please report it: ZeroDivisionError: division by zero"
    ]


async def test_a_bug_while_the_end_is_told_is_a_trouble_too_and_the_run_goes_on_to_be_sealed() -> None:
    sink = KeepingSink()
    run = Run(sink, a="eu")
    run.is_broken = True
    (row,) = await run.told.end()
    assert (row["sent"], row["trouble"]) == (0, "bug in loadgen, please report it: ZeroDivisionError: division by zero")
