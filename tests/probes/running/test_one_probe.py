"""One probe with a scripted reader: notes, values with times of their own, a slower period, and what comes last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.probes.journal import (
    Begin,
    Gap,
    Journal,
    NoteRecord,
    Period,
    ProbeOfRun,
    Record,
    Sample,
    TimedRecord,
    Zero,
    read_journal,
)
from loadgen.probes.reader import NOTE_BYTES, Note, NotRead, Reading, ServerTime, TimedValues, Tools
from loadgen.probes.recorded import Recorded
from loadgen.probes.rows import Row, Series
from loadgen.probes.running import one_probe
from loadgen.probes.running.one_probe import OneProbe
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.spec import ProbeSpec

S = 1_000_000_000
MS = 1_000_000
ROW = Row(key="load", title="load", kind="gauge", names=("load",))
TOTAL = Row(key="hits", title="hits", kind="counter", names=("hits",), unit="1/s")
LOAD = Series("load", "value", "load")
HITS = Series("hits", "value", "hits")


class Scripted:
    """A reader that answers from a function."""

    def __init__(self, answer: Callable[[int], Reading], last: Callable[[], tuple[Note, ...]] = lambda: ()) -> None:
        self.answer, self.of_last = answer, last
        self.reads = 0
        self.is_closed = False

    async def read(self, limit_s: float) -> Reading:
        self.reads += 1
        return self.answer(self.reads)

    async def last(self) -> tuple[Note, ...]:
        return self.of_last()

    async def close(self) -> None:
        self.is_closed = True


class Late(Scripted):
    """A reader whose server has older values."""

    async def late(self, since_ns: int, limit_s: float) -> Reading:
        return self.answer(-1)


class Kept:
    """The records and notices of a probe; its journal is read back for the figures."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.said: list[str] = []

    def record(self, *records: Record) -> None:
        self.records += records

    def notice(self, text: str) -> None:
        self.said.append(text)

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    def recorded(self, t0_ns: int = 0) -> Recorded:
        probe = ProbeOfRun("p", "h:1", S, kind="postgres")
        return Recorded([Begin(2, "", 0, (probe,)), Zero(t0_ns), *self.records])


def plain(n: int, took_ns: int = 1_000) -> Reading:
    return Reading(n * S, n * S + took_ns, (ROW,), {LOAD: float(n)})


def kept_of(
    monkeypatch: pytest.MonkeyPatch, reader: Scripted, is_enough: Callable[[Kept], bool], every_ns: int = MS
) -> Kept:
    kept = Kept()
    monkeypatch.setattr(one_probe, "open_reader", lambda *_: reader)
    probe = OneProbe(0, ProbeSpec(name="p", every_ns=every_ns), Tools(lambda: 0, lambda _: None), kept)
    reading: list[asyncio.Task[None]] = []

    async def run() -> None:
        serving = asyncio.ensure_future(probe.serve(lambda: False, reading.append))
        async with asyncio.timeout(30):
            while not is_enough(kept):
                await asyncio.sleep(0.001)
            reading[0].cancel()
            await serving

    asyncio.run(run())
    assert reader.is_closed
    return kept


def test_notes_are_recorded_with_their_times_and_a_mark_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = Note(7 * S, "mark", {"text": "HPA shop: 2 to 4 pods\x1b[2J", "key": "uid-1", "error_ns": S})
    lock = Note(3 * S, "locks", {"roots": [{"pid": 4711}]})

    reader = Scripted(lambda n: Reading(n, n, notes=(mark, lock) if n < 3 else ()))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 4)

    assert [note.kind for note in kept.of(NoteRecord)] == ["mark", "locks", "locks"]
    recorded = kept.recorded(t0_ns=S)
    first, second, _ = recorded.note_table()
    assert (first["at_s"], first["error_s"], first["text"]) == (6.0, 1.0, "HPA shop: 2 to 4 pods\\x1b[2J")
    assert (second["kind"], second["body"]) == ("locks", {"roots": [{"pid": 4711}]})
    (marked,) = recorded.marks()
    assert (marked["name"], marked["at_s"], marked["length_s"], marked["error_s"]) == ("p", 6.0, 0.0, 1.0)
    assert marked["title"] == "HPA shop: 2 to 4 pods\\x1b[2J"


def test_a_note_that_is_too_large_or_no_json_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    large, odd = Note(1, "plan", {"text": "x" * NOTE_BYTES}), Note(1, "plan", {"what": object()})

    reader = Scripted(lambda n: Reading(n, n, notes=(large, odd)))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(NoteRecord)) >= 2)

    assert kept.of(NoteRecord)[0].body == {"left_out_bytes": NOTE_BYTES + len('{"text":""}')}
    assert kept.of(NoteRecord)[1].body["left_out_bytes"] == 0


def test_the_number_of_notes_is_bounded_and_the_rest_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_probe, "_NOTES_MOST", 5)

    reader = Scripted(lambda n: Reading(n, n, notes=(Note(n, "sessions", {"n": n}),)))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 8)

    assert len(kept.of(NoteRecord)) == 5
    assert [text for text in kept.said if "later notes" in text] == kept.said
    assert len(kept.said) == 1


def test_reads_that_take_more_than_2_percent_of_the_period_double_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Scripted(lambda n: plain(n, took_ns=50_000))  # of 1 ms: 5 %
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 35)

    assert [record.every_ns for record in kept.of(Period)] == [2 * MS, 4 * MS]
    assert kept.said[0] == ("probe p is read every 2.00 ms from now on: a read takes 50.0 µs, more than 2 % of 1.00 ms")
    (figures,) = kept.recorded().figures()
    assert (figures["every_s"], figures["planned_every_s"]) == (0.004, 1.0)
    assert figures["mean_read_ms"] == 0.05


def test_one_slow_read_does_not_change_the_period(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Scripted(lambda n: plain(n, took_ns=500_000 if n % 10 == 3 else 1_000))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 25)

    assert not kept.of(Period)
    assert not kept.said


def test_the_time_at_the_server_counts_if_a_reader_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Scripted(lambda n: Reading(n * S, n * S + 500_000, (ROW,), {LOAD: 1.0}, cost_ns=1_000))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 12)

    assert not kept.of(Period)
    assert kept.recorded().figures()[0]["mean_read_ms"] == 0.001


def test_after_the_load_late_values_and_last_notes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Late(plain, lambda: (Note(9 * S, "statements", {"top": []}),))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 2)

    assert kept.of(Sample)[-1].sent_ns == -S
    assert [note.kind for note in kept.of(NoteRecord)] == ["statements"]


def test_a_server_that_does_not_answer_any_more_is_not_asked_for_its_last_notes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def down(_: int) -> Reading:
        raise NotRead("no connection to h:1")

    reader = Scripted(down, lambda: (Note(9, "plan", {}),))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Gap)) >= 2)

    assert not kept.of(NoteRecord)
    assert kept.said == ["probe p has a gap: no connection to h:1; the run goes on without its figures"]


def test_a_reader_that_ignores_its_limit_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Scripted):
        async def read(self, limit_s: float) -> Reading:
            await asyncio.sleep(60)
            raise AssertionError

        async def last(self) -> tuple[Note, ...]:
            raise AssertionError("not asked")

    monkeypatch.setattr(one_probe, "_SPARE_S", 0.0)
    kept = kept_of(monkeypatch, Stuck(plain), lambda kept: len(kept.of(Gap)) >= 2)

    assert kept.of(Gap)[0].why == "no complete answer within 0.0008 s"


def test_last_notes_that_never_come_end_after_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Scripted):
        async def last(self) -> tuple[Note, ...]:
            await asyncio.sleep(60)
            return ()

    monkeypatch.setattr(one_probe, "LAST_S", 0.05)
    kept = kept_of(monkeypatch, Slow(plain), lambda kept: len(kept.of(Sample)) >= 1)

    assert kept.said == ["probe p: its last figures are missing: no answer within 0.05 s"]


def test_remarks_are_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Scripted(lambda n: Reading(n, n, remarks=("grant it with: GRANT pg_monitor TO perf",)))
    kept = kept_of(monkeypatch, reader, lambda kept: len(kept.of(Sample)) >= 3)

    assert kept.said == ["probe p: grant it with: GRANT pg_monitor TO perf"]


# -- values with times of their own ----------------------------------------------------------------------

AHEAD = 1_700_000_000 * S
"""Unix time of the server at time 0 of the probe's clock."""


def timed(series: Series, values: dict[int, float], now_s: int = 0) -> Reading:
    """A reading of values by time in s of the probe's clock."""
    at_ms = tuple((AHEAD + at * S) // MS for at in values)
    row = TOTAL if series.row == "hits" else ROW
    server = ServerTime(now_s * S, now_s * S + 2 * MS, AHEAD + now_s * S + MS)
    return Reading(
        now_s * S, now_s * S + 2 * MS, (row,),
        timed=(TimedValues(series, at_ms, tuple(values.values()), "a:9100"),), server=server,
    )  # fmt: skip


def points_of(kept: Kept, key: str) -> list[tuple[float, float, float | None]]:
    table = kept.recorded().table()
    return [
        (round(float(row["at_s"]), 2), round(float(row["length_s"]), 2), row["value"])  # type: ignore[arg-type, misc]
        for row in table
        if row["metric"] == key
    ]


def read_all(monkeypatch: pytest.MonkeyPatch, *readings: Reading) -> Kept:
    reader = Scripted(lambda n: readings[min(n, len(readings)) - 1])
    return kept_of(monkeypatch, reader, lambda kept: reader.reads >= len(readings))


def test_values_with_times_of_their_server_stand_on_the_clock_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read_all(monkeypatch, timed(HITS, {5: 100.0, 20: 400.0, 35: 400.0}), timed(HITS, {50: 550.0}))

    assert points_of(kept, "hits") == [(5.0, 15.0, 20.0), (20.0, 15.0, 0.0), (35.0, 15.0, 10.0)]
    (figures,) = kept.recorded().figures()
    assert figures["samples"] == 4
    assert figures["rows"][0]["count"] == 450
    assert 0.5 <= figures["clock"]["error_ms"] <= 1.1
    (lane,) = kept.recorded().lanes()
    assert (lane["period_s"], lane["values"]) == (15.0, [20.0, 0.0, 10.0])


def test_a_scrape_that_is_missing_is_a_gap_and_not_the_value_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read_all(monkeypatch, timed(LOAD, {0: 1.0, 15: 2.0, 30: 3.0, 75: 4.0, 90: 5.0}))

    (lane,) = kept.recorded().lanes()
    assert (lane["at_s"], lane["values"]) == ([0, 15, 30, 45, 60, 75, 90], [1, 2, 3, None, None, 4, 5])
    (figures,) = kept.recorded().figures()
    assert (figures["samples"], figures["gaps"]) == (5, 2)
    assert figures["last_gap"] == "the server has no sample of this time"


def test_late_points_fill_a_gap_in_whatever_order_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read_all(monkeypatch, timed(HITS, {0: 0.0, 15: 15.0, 60: 60.0}), timed(HITS, {30: 30.0, 45: 45.0, 60: 60.0}))

    assert points_of(kept, "hits") == [(at, 15.0, 1.0) for at in (0.0, 15.0, 30.0, 45.0)]
    assert kept.recorded().figures()[0]["gaps"] == 0


def test_a_counter_that_falls_is_no_negative_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read_all(monkeypatch, timed(HITS, {0: 500.0, 15: 530.0, 30: 3.0, 45: 33.0}))

    assert points_of(kept, "hits") == [(0.0, 15.0, 2.0), (15.0, 15.0, None), (30.0, 15.0, 2.0)]
    assert kept.recorded().figures()[0]["resets"] == 1


def test_a_failed_read_whose_values_came_later_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[Reading | None] = [timed(LOAD, {0: 1.0, 15: 1.0}), None, timed(LOAD, {30: 1.0, 45: 1.0})]

    def answer(n: int) -> Reading:
        found = readings[min(n, 3) - 1]
        if found is None:
            raise NotRead("busy")
        return found

    reader = Scripted(answer)
    kept = kept_of(monkeypatch, reader, lambda kept: reader.reads >= 3)

    assert kept.of(Gap)
    assert kept.of(TimedRecord)
    assert kept.recorded().figures()[0]["gaps"] == 0


# -- whole runs ------------------------------------------------------------------------------------------


async def test_a_probe_beside_the_server_is_named_and_not_read(tmp_path: Path) -> None:
    spec = ProbeSpec(name="db", kind="postgres", own={"dsn": "host=127.0.0.1 port=1"}, at="apart")
    said: list[str] = []
    run = RunProbes([spec], tmp_path, clock=lambda: 0, notice=said.append, secret_of=lambda _: None)
    run.begin()
    (figures,) = await run.end()

    assert (figures["name"], figures["at"], figures["url"]) == ("db", "apart", "127.0.0.1:1")
    assert (figures["samples"], figures["gaps"], said) == (0, 0, [])


def test_an_old_journal_is_read_as_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    probe = b'{"name":"a","url":"u","every_ns":1000000000}'
    old = b'{"type":"begin","format":1,"at":"2026-11-28T10:00:00.000Z","now_ns":5,"probes":[%s]}' % probe
    journal._log.append(old, b'{"type":"sample","probe":0,"sent_ns":1,"received_ns":3,"ids":[],"values":[]}')
    journal.close()

    begin, sample = read_journal(tmp_path)

    assert begin == Begin(1, "2026-11-28T10:00:00.000Z", 5, (ProbeOfRun("a", "u", S),))
    assert sample == Sample(0, 1, 3, (), ())
