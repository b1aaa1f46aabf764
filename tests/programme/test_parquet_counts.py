"""Counts from Parquet files that others wrote: what is read, and each fault with its row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.programme.sources.asked import Asked
from loadgen.programme.sources.csv_counts import CsvCounts, parse_csv
from loadgen.programme.sources.file_source import FileSource
from loadgen.programme.sources.parquet_counts import parse_parquet

START = 1_784_505_600
"""2026-07-20, 0 h UTC."""
Row = tuple[int, str, Any, Any]
"""Number of the slice, slo, good, total."""


def times(numbers: Sequence[int], kind: Any) -> Any:
    at = [datetime.fromtimestamp(START, UTC) + timedelta(seconds=300 * n) for n in numbers]
    return pyarrow.array([one if kind.tz else one.replace(tzinfo=None) for one in at], kind)


def file_of(*rows: Row, kind: Any = None, counts: Any = None, **more: Any) -> bytes:
    kind = kind or pyarrow.timestamp("us", tz="UTC")
    columns = {
        "time": times([one[0] for one in rows], kind),
        "slo": pyarrow.array([one[1] for one in rows], pyarrow.string()),
        "good": pyarrow.array([one[2] for one in rows], counts),
        "total": pyarrow.array([one[3] for one in rows], counts),
        **more,
    }
    found = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({name: one for name, one in columns.items() if one is not None}), found)
    return found.getvalue()


def parsed(data: bytes, **given: Any) -> CsvCounts:
    return parse_parquet(data, 300, "counts.parquet", **given)


def slices(found: CsvCounts) -> list[tuple[str, int, int, int]]:
    assert not found.faults
    assert found.rows is not None
    return [(one.slo, one.start - START, one.good, one.total) for one in found.rows.slices()]


def faults(found: CsvCounts) -> list[str]:
    assert found.rows is None
    return [str(one) for one in found.faults]


@pytest.mark.parametrize(
    ("kind", "counts", "given"),
    [
        (pyarrow.timestamp("s", tz="UTC"), pyarrow.int64(), {}),
        (pyarrow.timestamp("ns", tz="Europe/Berlin"), pyarrow.int32(), {}),
        (pyarrow.timestamp("ms"), pyarrow.uint64(), {"zone": "UTC"}),
        # pandas writes counts with gaps as float64.
        (pyarrow.timestamp("us", tz="+02:00"), pyarrow.float64(), {}),
    ],
)
def test_times_have_their_unit_and_zone_in_the_schema(kind: Any, counts: Any, given: dict[str, Any]) -> None:
    found = parsed(file_of((0, "b", 9, 10), (0, "a", 1, 2), (1, "b", 10, 10), kind=kind, counts=counts), **given)

    assert slices(found) == [("b", 0, 9, 10), ("a", 0, 1, 2), ("b", 300, 10, 10)]


def test_a_time_without_a_zone_is_read_in_that_of_the_source() -> None:
    data = file_of((24, "a", 9, 10), kind=pyarrow.timestamp("s"))

    assert slices(parsed(data, zone="Europe/Berlin")) == [("a", 0, 9, 10)]
    assert faults(parsed(data)) == [
        "counts.parquet: column 'time' has timestamps without a zone; store them with a zone,"
        ' or write zone = "Europe/Berlin" at the source'
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, "a", 9, 10), (1, "a", 11, 10)], ["row 2: 11 good requests are more than all 10"]),
        ([(0, "a", -1, 10)], ["row 1: good or total is negative"]),
        ([(0, "", 1, 10)], ["row 1: slo is empty or has more than 200 characters"]),
        ([(0, "a", 0.97, 1.0)], ["row 1: good is 0.97, not a whole number: good and total are counts, not ratios"]),
        ([(0, "a", None, 10)], ["row 1: good is empty"]),
        (
            [(0, "a", 1, 1), (1, "a", 1, 1), (1, "a", 1, 1)],
            ["row 3: 2026-07-20 00:05:00 UTC of a is there twice, first in row 2"],
        ),
        ([(1, "a", 1, 1), (0, "a", 1, 1)], ["row 2: a is not ordered by time: it comes after row 1"]),
        (
            [(0, "a", 1, 1), (3, "a", 1, 1)],
            ["row 2: 2 slices of a are absent before it, after row 1: add them, or take gaps as missing"],
        ),
        # All faults at once.
        (
            [(0, "a", 2, 1), (1, "b", -1, 1), (1, "a", 1, 1), (1, "a", 1, 1)],
            [
                "row 1: 2 good requests are more than all 1",
                "row 2: good or total is negative",
                "row 4: 2026-07-20 00:05:00 UTC of a is there twice, first in row 3",
            ],
        ),
    ],
)
def test_each_fault_has_its_row(rows: list[Row], expected: list[str]) -> None:
    assert faults(parsed(file_of(*rows))) == [f"counts.parquet: {one}" for one in expected]


def test_a_slice_off_the_edges_and_a_part_of_a_second_are_faults() -> None:
    at = pyarrow.array([START * 1_000 + 60_000], pyarrow.timestamp("ms", tz="UTC"))
    part = pyarrow.array([START * 1_000 + 1], pyarrow.timestamp("ms", tz="UTC"))

    assert (
        "row 1: a slice of 300 s cannot begin at 2026-07-20 00:01:00 UTC"
        in faults(parsed(file_of((0, "a", 1, 1), time=at)))[0]
    )
    assert faults(parsed(file_of((0, "a", 1, 1), time=part))) == ["counts.parquet: row 1: time is not a whole second"]


def test_a_time_that_is_twice_on_the_clock_is_a_fault() -> None:
    at = pyarrow.array([datetime(2026, 10, 25, 2, 30)], pyarrow.timestamp("s"))

    assert faults(parsed(file_of((0, "a", 1, 1), time=at), zone="Europe/Berlin")) == [
        "counts.parquet: row 1: time is twice or never on the clock in Europe/Berlin"
    ]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"total": None}, "column 'total' is there 0 times, and must be once; columns: time, slo, good"),
        ({"time": pyarrow.array([START])}, "column 'time' has the type int64: it must be a timestamp with a zone"),
        ({"slo": pyarrow.array([7])}, "column 'slo' has the type int64, not text"),
        ({"good": pyarrow.array(["9"])}, "column 'good' has the type string: it must be a whole number"),
    ],
)
def test_a_foreign_schema_is_named(changed: dict[str, Any], why: str) -> None:
    assert faults(parsed(file_of((0, "a", 9, 10), **changed))) == [f"counts.parquet: {why}"]


@pytest.mark.parametrize("cut", [0, 3, 200, -9])
def test_a_torn_file_is_a_fault_and_never_a_part_of_its_slices(cut: int) -> None:
    (text,) = faults(parsed(file_of(*((n, "a", 1, 1) for n in range(50)))[:cut]))

    assert text.startswith("counts.parquet: ")


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"]), st.integers(-1, 3), st.integers(-1, 3)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, takes_gaps=st.booleans())
def test_a_parquet_file_gives_what_the_same_csv_file_gives(rows: list[Row], takes_gaps: bool) -> None:
    lines = [f"{START + 300 * n},{slo},{good},{total}" for n, slo, good, total in rows]
    text = "\n".join(["time[unix s],slo,good,total", *lines])

    as_csv = parse_csv(text.encode(), 300, "counts.parquet", takes_gaps=takes_gaps)
    as_parquet = parsed(file_of(*rows), takes_gaps=takes_gaps)

    assert (as_csv.rows is None) == (as_parquet.rows is None)
    if as_csv.rows is not None and as_parquet.rows is not None:
        assert sorted(as_csv.rows.slices()) == sorted(as_parquet.rows.slices())
        assert as_csv.gaps == as_parquet.gaps


def test_gaps_are_missing_where_the_source_says_so() -> None:
    found = parsed(file_of((0, "a", 1, 1), (3, "a", 1, 1)), takes_gaps=True)

    assert [one[1] for one in slices(found)] == [0, 900]
    assert found.missing == 2
    assert found.gaps == (
        "a: 2 slices are missing in 1 gap, the first from 2026-07-20 00:05:00 UTC to 2026-07-20 00:15:00 UTC",
    )


def test_a_file_is_read_once_for_all_objectives(tmp_path: Path) -> None:
    path = tmp_path / "counts.parquet"
    path.write_bytes(file_of((0, "b", 1, 2), (0, "a", 3, 4), (1, "b", 5, 6)))
    reads: list[str] = []

    def parse(data: bytes, name: str) -> CsvCounts:
        reads.append(name)
        return parse_parquet(data, 300, name)

    source = FileSource(path, parse)
    found = {slo: source.pull(Asked(slo, "", "", "", START, START + 300, 300)) for slo in ("a", "b", "c")}

    assert len(reads) == 1
    assert [(one.good, one.total) for one in found["b"].slices] == [(1, 2)]
    assert [(one.good, one.total) for one in found["a"].slices] == [(3, 4)]
    assert str(found["c"].faults[0]) == f"{path} has no rows of it in this time"


def test_a_file_that_is_not_there_is_missing_counts(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "none.parquet", lambda data, name: parse_parquet(data, 300, name))

    assert "cannot be read: No such file" in str(source.pull(Asked("a", "", "", "", 0, 300, 300)).faults[0])
