"""Recorded traffic as it is read: times to the nanosecond, bins with their gaps, and every fault with its line."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.data import unpack
from loadgen.dsl.data.rowfile import FileFaults
from loadgen.dsl.executors.recorded_traffic_csv import Bin, Gaps, Point, _time_ns, held, read_points, read_times
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError

DATA = Path(__file__).parents[2] / "data"
ELB = DATA / "series" / "nab_elb_request_count_8c0756.csv"
AZURE = DATA / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"
HERE = Origin("scenario.py", 7)
S = 1_000_000_000


def file(folder: Path, text: str | bytes, name: str = "traffic.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def points_told(path: Path, time: str | int = 0, value: str | int = 1) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        read_points(path, HERE, time, value)
    return [f"{Path(f.file).name}:{f.line} {f.message}" for f in error.value.faults]


def times_told(path: Path, column: str | int = 0) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        read_times(path, HERE, column)
    return [f"{Path(f.file).name}:{f.line} {f.message}" for f in error.value.faults]


# -- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("1e3", 1000 * S),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("1970-01-01 00:00:01", S),
        ("1970-01-01T00:00:01Z", S),
        ("1970-01-01t00:00:01z", S),
        ("1970-01-01 00:01", 60 * S),
        ("1970-01-01T02:00:01+02:00", S),
        ("1970-01-01 00:00:01 UTC", S),
        ("1970-01-01T00:00:00,25Z", S // 4),
        ("2023-11-16 18:15:46.6805900", 1_700_158_546_680_590_000),
        ("2023-11-16 18:15:46.123456789999", 1_700_158_546_123_456_789),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, at_ns: int, tmp_path: Path) -> None:
    point, _ = read_points(file(tmp_path, f'"{text}",1\n2100-01-01 00:00:00,1\n'), HERE, 0, 1)
    assert point.at_ns == at_ns


@given(
    at=st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)),
    offset=st.none() | st.integers(-14 * 60, 14 * 60),
    digits=st.integers(0, 6),
)
def test_rfc_3339_is_read_as_pythons_own_does(at: datetime, offset: int | None, digits: int) -> None:
    at = at.replace(microsecond=at.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits))
    aware = at.replace(tzinfo=UTC if offset is None else timezone(timedelta(minutes=offset)))
    text = at.isoformat(sep=" ", timespec="seconds") + (f".{at.microsecond:06d}"[: digits + 1] if digits else "")
    text += "" if offset is None else aware.isoformat()[-6:]
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    assert _time_ns(text) == (since.days * 86_400 + since.seconds) * S + since.microseconds * 1_000


def test_a_recording_counts_from_its_first_arrival() -> None:
    times = read_times(AZURE, HERE, "TIMESTAMP")
    assert (len(times), times[0]) == (19_366, 0)
    assert times[1] == 4_314_579_000  # 18:15:50.9951690 - 18:15:46.6805900
    assert times[-1] == 3_501_721_937_000


def test_a_curve_is_read_by_names_or_places() -> None:
    by_name = read_points(ELB, HERE, "timestamp", "value")
    assert by_name == read_points(ELB, HERE, 0, 1)
    assert (len(by_name), sum(point.value for point in by_name)) == (4_032, 249_327)
    assert (by_name[0].line, by_name[-1].line) == (2, 4_033)


def test_a_curve_may_have_no_header_a_mark_empty_lines_and_other_columns(tmp_path: Path) -> None:
    text = "\ufeffhost,0,10,x\n\nhost,1.5,0.1,x\n"
    assert read_points(file(tmp_path, text), HERE, 1, 2) == [
        Point(0, Fraction(10), 1),
        Point(3 * S // 2, Fraction(1, 10), 3),
    ]


def test_gzip_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    packed = file(tmp_path, gzip.compress(ELB.read_bytes()), "traffic.csv.gz")
    assert read_points(packed, HERE, 0, 1) == read_points(ELB, HERE, 0, 1)


def test_zstd_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    packed = file(tmp_path, zstandard.compress(ELB.read_bytes()), "traffic.csv.zst")
    assert read_points(packed, HERE, 0, 1) == read_points(ELB, HERE, 0, 1)


# -- what is wrong --------------------------------------------------------------------------------


def test_all_rows_that_are_wrong_are_told_at_once(tmp_path: Path) -> None:
    text = "time,rate\n0,5\n10,nan\n20,-1\n15,5\nsoon,5\n30,\n30,inf\n40\n50,1e999\n"
    assert points_told(file(tmp_path, text)) == [
        'traffic.csv:3 "nan" is not a number',
        "traffic.csv:4 -1 is negative",
        "traffic.csv:5 15 is earlier than the row above it",
        'traffic.csv:6 "soon" is not a time',
        "traffic.csv:7 an empty cell is not a number",
        'traffic.csv:8 "inf" is not a number',
        "traffic.csv:8 30 occurs twice",
        "traffic.csv:9 1 cell, but column 1 is needed",
        'traffic.csv:10 "1e999" is not a number',
    ]


def test_a_recording_tells_its_rows_at_once(tmp_path: Path) -> None:
    text = "at\n0\n3\n2\nNaN\n2026-13-01 00:00:00\n3\n"
    assert times_told(file(tmp_path, text)) == [
        "traffic.csv:4 2 is earlier than the row above it",
        'traffic.csv:5 "NaN" is not a time',
        'traffic.csv:6 "2026-13-01 00:00:00" is not a time',
    ]


def test_many_faults_are_counted(tmp_path: Path) -> None:
    told = points_told(file(tmp_path, "time,rate\n0,1\n" + "0,1\n" * 500))
    assert len(told) == 11
    assert told[-1] == "traffic.csv:13 and 490 more errors"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "traffic.csv:0 the file is empty"),
        (b" \n\n", "traffic.csv:0 the file is empty"),
        (b"time,rate\n", "traffic.csv:1 the file has a header but no rows"),
        (b"time,rate\n0,5\n", "traffic.csv:2 the file has only one row, so the length of a bin is unknown"),
        (b"time,rate\n0,5\n\xff,5\n", "traffic.csv:3 byte 0xff is not UTF-8"),
        ("0,5\n1,5\n".encode("utf-16"), "traffic.csv:1 the file is UTF-16"),
        (b'time,rate\n0,5\n1,"5\n', "traffic.csv:3 invalid CSV: unexpected end of data"),
        (b"0\n1\n", "traffic.csv:1 no column 1: the row has 1"),
    ],
)
def test_a_file_that_is_no_curve_is_told_as_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    assert points_told(file(tmp_path, content)) == [says]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "trace.csv.gz:0 the file is empty"),
        (b"time\n0\n", "trace.csv.gz:0 the archive is not a gzip file"),
        (gzip.compress(b"0\n1\n" * 9, mtime=0)[:-8], "trace.csv.gz:0 the archive ends too early"),
    ],
)
def test_a_gzip_that_is_none_or_not_whole_is_told(content: bytes, says: str, tmp_path: Path) -> None:
    (told, *_) = times_told(file(tmp_path, content, "trace.csv.gz"))
    assert told == says


def test_a_recording_that_unpacks_to_more_than_its_limit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "_LEAST_LIMIT_BYTES", 1 << 20)
    bomb = file(tmp_path, gzip.compress(b"0" * (3 << 20)), "trace.csv.gz")
    (told,) = times_told(bomb)
    assert told == "trace.csv.gz:0 the archive unpacks to more than 1 MiB, the limit for an archive of its size"


def test_a_recording_of_one_arrival_is_nothing_to_replay(tmp_path: Path) -> None:
    assert times_told(file(tmp_path, "at\n5\n")) == ["traffic.csv:0 the file has only one row"]


def test_a_column_that_is_not_there_is_told_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as error:
        read_points(file(tmp_path, "timestamp,value,value\n0,1,1\n"), HERE, "timestmp", "value")
    assert [(f.line, f.message, f.hint) for f in error.value.faults] == [
        (1, 'column "value" occurs 2 times', "rename one of them"),
        (1, 'no column "timestmp", only "timestamp", "value", "value"', 'did you mean "timestamp"?'),
    ]
    assert points_told(file(tmp_path, "0,1\n1,1\n"), "at") == ['traffic.csv:1 no column "at": the file has no header']


def test_a_file_that_is_not_there_is_told_where_it_is_named(tmp_path: Path) -> None:
    file(tmp_path, "0,1\n")
    with pytest.raises(ScenarioError) as error:
        read_points(tmp_path / "trafic.csv", HERE, 0, 1)
    (fault,) = error.value.faults
    assert (fault.file, fault.line, fault.hint) == ("scenario.py", 7, 'did you mean "traffic.csv"?')


# -- bins -----------------------------------------------------------------------------------------


def points(*rows: tuple[float, float]) -> list[Point]:
    return [Point(round(at * S), Fraction(str(value)), line) for line, (at, value) in enumerate(rows, 2)]


def binned(
    rows: list[Point], gaps: Gaps, *, is_count: bool = False
) -> tuple[list[tuple[float, float, float]], list[str]]:
    faults = FileFaults(Path("traffic.csv"))
    bins = held(rows, gaps, faults, is_count=is_count)
    told: list[str] = []
    try:
        faults.refuse()
    except ScenarioError as error:
        told = [f"{fault.line} {fault.message}" for fault in error.faults]
    return [(b.start_ns / S, b.end_ns / S, float(b.value)) for b in bins], told


def test_each_row_holds_until_the_next_and_the_last_as_long_as_most() -> None:
    assert binned(points((100, 5), (110, 7), (120, 0)), "refuse") == ([(0, 10, 5), (10, 20, 7), (20, 30, 0)], [])


@pytest.mark.parametrize(
    ("gaps", "is_count", "between", "told"),
    [
        ("refuse", False, 0, ["4 2 bins are missing before this row: 30.0 s after the row above it"]),
        ("zero", False, 0, []),
        ("zero", True, 0, []),
        ("hold", True, 14, []),
    ],
)
def test_a_bin_that_is_missing_is_a_fault_unless_it_is_said_what_it_means(
    gaps: Gaps, is_count: bool, between: float, told: list[str]
) -> None:
    bins, faults = binned(points((0, 5), (10, 7), (40, 1), (50, 2)), gaps, is_count=is_count)
    assert faults == told
    assert bins == [(0, 10, 5), (10, 20, 7), (20, 40, between), (40, 50, 1), (50, 60, 2)]


def test_a_rate_may_hold_however_long() -> None:
    rows = points((0, 5), (10, 7), (17, 1), (27, 2), (57, 3))
    assert binned(rows, "hold") == ([(0, 10, 5), (10, 17, 7), (17, 27, 1), (27, 57, 2), (57, 67, 3)], [])
    assert binned(rows, "refuse")[1] == [
        "4 7.00 s after the row above it, but most bins last 10.0 s",
        "6 2 bins are missing before this row: 30.0 s after the row above it",
    ]
    assert binned(rows, "hold", is_count=True)[1] == ["4 7.00 s after the row above it, but most bins last 10.0 s"]


def test_the_real_series_has_eight_gaps_which_are_told_with_their_lines() -> None:
    rows = read_points(ELB, HERE, "timestamp", "value")
    _, told = binned(rows, "refuse", is_count=True)
    assert [int(one.split()[0]) for one in told] == [140, 909, 1152, 1787, 1858, 2195, 2394, 2925]
    assert told[0] == "140 a bin is missing before this row: 10m after the row above it"
    bins, _ = binned(rows, "zero", is_count=True)
    assert len(bins) == 4_032 + 8
    assert bins[-1][1] == 4_040 * 300


def test_a_gap_of_years_is_one_bin() -> None:
    assert len(binned(points((0, 1), (1, 1), (2, 1), (1e9, 1)), "zero", is_count=True)[0]) == 5


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 100)), min_size=2, max_size=40),
    st.sampled_from(["zero", "hold"]),
)
def test_bins_follow_each_other_without_a_hole_and_keep_what_was_counted(
    rows: list[tuple[int, int]], gaps: Gaps
) -> None:
    at, given_points = 0, []
    for line, (length, value) in enumerate(rows):
        given_points.append(Point(at * S, Fraction(value), line))
        at += length
    faults = FileFaults(Path("traffic.csv"))
    bins: list[Bin] = held(given_points, gaps, faults, is_count=True)
    if faults:
        return
    assert all(a.end_ns == b.start_ns and a.start_ns < a.end_ns for a, b in pairwise(bins))
    if gaps == "zero":
        assert sum(one.value for one in bins) == sum(value for _, value in rows)
