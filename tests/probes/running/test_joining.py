"""The journal of a probe beside its server on the clock of a run: true times lie within the stated bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.run_folder.rundir import utc_text
from loadgen.probes.journal import (
    Begin,
    Gap,
    NewRows,
    NewSeries,
    NoteRecord,
    Period,
    ProbeOfRun,
    Record,
    Sample,
    TimedRecord,
    Zero,
)
from loadgen.probes.recorded import Recorded
from loadgen.probes.rows import Row, Series
from loadgen.probes.running.joining import ASSUMED_NS, damage_of, moved, offset_between, span_of

S = 1_000_000_000
MS = 1_000_000
NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
ROW = Row(key="load", title="load", kind="gauge", names=("load",))
PROBE = ProbeOfRun("db", "db:5432", S, kind="postgres", at="apart")


def begin(now_ns: int, true_s: float = 0.0, wrong_ns: int = 0, boot: str = "", error_ns: int | None = None) -> Begin:
    """A journal that begins `true_s` after `NOW`, on a machine whose wall clock is ahead by `wrong_ns`."""
    wall = NOW + timedelta(seconds=true_s, microseconds=wrong_ns / 1_000)
    return Begin(2, utc_text(wall), now_ns, (PROBE,), boot, error_ns)


@given(
    run_clock=st.integers(0, 10**15),
    file_clock=st.integers(0, 10**15),
    apart_s=st.integers(-3_600, 3_600),
    wrong=st.tuples(st.integers(-50 * MS, 50 * MS), st.integers(-50 * MS, 50 * MS)),
    at_s=st.integers(0, 3_600),
)
def test_the_true_time_lies_within_the_bound(
    run_clock: int, file_clock: int, apart_s: int, wrong: tuple[int, int], at_s: int
) -> None:
    run = begin(run_clock, 0.0, wrong[0], "a", 50 * MS)
    other = begin(file_clock, apart_s, wrong[1], "b", 50 * MS)
    offset = offset_between(run, other)

    sent, received = file_clock + at_s * S, file_clock + at_s * S + 4 * MS
    _, _, sample = moved([other, Sample(0, sent, received, (), ())], offset, 0)

    assert isinstance(sample, Sample)
    true_ns = run_clock + (apart_s + at_s) * S + 2 * MS  # of the read at the server
    assert sample.sent_ns <= true_ns <= sample.received_ns
    assert sample.cost_ns == 4 * MS


def test_two_programs_on_one_machine_have_one_clock() -> None:
    offset = offset_between(begin(5, boot="a"), begin(10**12, 3_000, boot="a"))

    assert (offset.offset_ns, offset.error_at(3_600 * S), offset.how) == (0, 0, "same clock")


def test_the_same_machine_after_another_boot_has_another_clock() -> None:
    assert offset_between(begin(5, boot="a"), begin(5, boot="b")).how == "wall clocks, error assumed"
    assert offset_between(begin(5), begin(5)).how == "wall clocks, error assumed"


def test_an_unknown_error_is_assumed_and_grows() -> None:
    offset = offset_between(begin(0, error_ns=3 * MS), begin(0))

    assert offset.error_ns == ASSUMED_NS + 4 * MS
    assert offset.error_at(1_000 * S) == offset.error_ns + 100 * MS


def test_an_error_that_the_user_knows_replaces_those_of_the_kernels() -> None:
    offset = offset_between(begin(0, error_ns=3 * MS), begin(0, error_ns=3 * MS), 500_000)

    assert offset.error_ns == 1_500_000


def test_joined_records_are_points_of_the_run_with_the_error_of_their_clock() -> None:
    run: list[Record] = [begin(0, boot="a", error_ns=10 * MS), Zero(100 * S)]
    file: list[Record] = [
        begin(7 * S, 90, boot="b", error_ns=20 * MS),
        NewRows(0, (ROW,)),
        NewSeries(0, 0, (Series("load", "value", "load"),)),
        Sample(0, 27 * S, 27 * S + 2 * MS, (0,), (3.0,)),
        NoteRecord(0, 28 * S, "mark", {"text": "failover", "error_ns": MS}),
        Gap(0, 29 * S, 29 * S, "no answer"),
    ]
    offset = offset_between(file_run := run[0], file[0])  # type: ignore[arg-type]
    assert isinstance(file_run, Begin)

    recorded = Recorded([*run, *moved(file, offset, 100 * S)])

    (point, gap) = recorded.table()
    assert (point["probe"], point["value"], point["at_s"], point["error_s"]) == ("db", 3.0, 10.001, 0.032)
    assert (gap["at_s"], gap["gap"]) == (12.0, "no answer")
    (marked,) = recorded.marks()
    assert (marked["probe"], marked["at_s"], marked["error_s"], marked["title"]) == ("db", 11.0, 0.032, "failover")
    (figures,) = recorded.figures()
    assert (figures["samples"], figures["gaps"], figures["mean_read_ms"]) == (1, 1, 2.0)
    assert figures["rows"][0]["mean"] == 3
    assert span_of(file) == (27 * S, 29 * S)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Sample(1, 0, 1, (), ()), "belongs to no probe"),
        (Sample(-1, 0, 1, (), ()), "belongs to no probe"),
        (Sample(0, 0, 1, (-1,), (1.0,)), "belongs to no series"),
        (NewSeries(0, -1, (Series("load", "value", "load"),)), "belongs to no series"),
        (TimedRecord(0, -1, (1,), (1.0,)), "belongs to no series"),
        (Sample(0, 5, 4, (), ()), "impossible time"),
        (Gap(0, 0, 2**62, ""), "impossible time"),
        (NoteRecord(0, 2**62, "mark", {}), "impossible time"),
        (Period(0, 0, ""), "period"),
        (NewRows(0, (msgspec.structs.replace(ROW, title="x" * 1_000_000),)), "too long"),
    ],
)
def test_a_record_that_no_probe_writes_is_damage(odd: Record, why: str) -> None:
    assert damage_of([begin(0)]) == ""
    assert why in damage_of([begin(0), odd])


@pytest.mark.parametrize(
    "odd",
    [
        {"probes": ()},
        {"probes": (PROBE, PROBE)},
        {"probes": tuple(msgspec.structs.replace(PROBE, name=f"p{n}") for n in range(17))},
        {"probes": (msgspec.structs.replace(PROBE, name="<script>"),)},
        {"probes": (msgspec.structs.replace(PROBE, every_ns=0),)},
        {"at": "yesterday"},
        {"at": ""},
    ],
)
def test_a_beginning_that_no_probe_writes_is_damage(odd: dict[str, object]) -> None:
    assert damage_of([msgspec.structs.replace(begin(0), **odd)])
