"""The ledger: what is written is read again, revisions replace slices, and what cannot be read is named."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.parquet import about, read_arrays, write_table
from loadgen.programme.ledger.ledger import Ledger, Reading, day_of
from loadgen.programme.ledger.ledger_file import COLUMNS, Revision, from_parquet, rows_of, to_parquet
from loadgen.programme.ledger.slices import DAY_S, Slice, Sum, starts_between, sum_of
from tests.history.test_store import in_bucket
from tests.support.s3 import S3, running_s3

DAY = 1_784_505_600
"""2026-07-20, 0 h UTC."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with running_s3() as s3:
        yield s3


@pytest.fixture(params=["folder", "bucket"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    if request.param == "folder":
        return Ledger.open(str(tmp_path / "history"))
    return Ledger.open(in_bucket(request.getfixturevalue("bucket"), monkeypatch))


@pytest.fixture
def folder(tmp_path: Path) -> Ledger:
    return Ledger.open(str(tmp_path / "history"))


def made(number: int, slo: str = "checkout-fast", **changes: object) -> Slice:
    one = Slice(slo, DAY + 300 * number, 300, 990, 1000, evidence="made")
    return replace(one, **changes)  # type: ignore[arg-type]


def day(ledger: Ledger, as_of: str = "") -> Reading:
    return ledger.read(DAY, DAY + DAY_S, as_of)


def files(path: Path) -> list[Path]:
    return sorted((path / "history").rglob("*.parquet"))


# -- what is written ------------------------------------------------------------------------------


def test_slices_are_read_as_they_were_written_with_their_revision(ledger: Ledger) -> None:
    slices = [
        made(0),
        made(1, missing_s=12, estimated=True, evidence="interpolated"),
        made(0, "search", good=0, total=0),
    ]

    (revision,) = ledger.write("prod", slices)

    reading = day(ledger)
    assert reading.slices("checkout-fast") == slices[:2]
    assert reading.slices("search") == slices[2:]
    assert reading.slices("unknown") == []
    assert (revision.name, revision.because) == ("2026-07-20/prod-1", "first data")
    assert reading.revisions == (revision,)
    assert not reading.unreadable
    assert not reading.clashes


def test_a_file_has_the_day_the_source_and_the_revision_in_its_name_and_the_columns_of_the_documents(
    folder: Ledger, tmp_path: Path
) -> None:
    folder.write("prod", [made(0), made(288)])

    names = [str(path.relative_to(tmp_path / "history")) for path in files(tmp_path)]

    assert names == ["slis/day=2026-07-20/prod-1.parquet", "slis/day=2026-07-21/prod-1.parquet"]
    assert list(COLUMNS) == ["slo", "start", "width", "good", "total", "missing_s", "estimated", "evidence"]


def test_writing_the_same_again_changes_nothing(ledger: Ledger) -> None:
    ledger.write("prod", [made(0), made(1)])

    again = ledger.write("prod", [made(1), made(0)])

    assert again == ()
    assert len(day(ledger).revisions) == 1


def test_a_corrected_slice_is_a_revision_with_its_reason_and_the_newest_one_counts(ledger: Ledger) -> None:
    ledger.write("prod", [made(0), made(1)])

    (second,) = ledger.write("prod", [made(0, good=900), made(1)], because="the exporter counted retries")

    reading = day(ledger)
    assert reading.by_slo["checkout-fast"].sum() == Sum(1890, 2000, 600)
    assert (second.number, second.because) == (2, "the exporter counted retries")
    assert [one.number for one in reading.revisions] == [1, 2]
    assert reading.by_slo["checkout-fast"].revision.tolist() == [1, 0]


def test_a_reading_as_of_an_earlier_time_has_what_was_known_then(tmp_path: Path) -> None:
    times = iter(["2026-07-20T01:00:00.000Z", "2026-07-22T01:00:00.000Z"])
    ledger = Ledger(Ledger.open(str(tmp_path))._place, lambda: next(times))
    ledger.write("prod", [made(0)])
    ledger.write("prod", [made(0, good=1), made(1)])

    early, late = day(ledger, "2026-07-21T00:00Z"), day(ledger)

    assert [one.good for one in early.slices("checkout-fast")] == [990]
    assert [one.good for one in late.slices("checkout-fast")] == [1, 990]
    assert day(ledger, "2026-07-19").by_slo == {}
    with pytest.raises(UsageError, match="is not a time"):
        day(ledger, "yesterday")


def test_only_slices_and_objectives_that_were_asked_for_are_returned(folder: Ledger) -> None:
    folder.write("prod", [made(n, slo) for n in range(10) for slo in ("a", "b")])

    reading = folder.read(DAY + 600, DAY + 1500, slos=["b", "c"])

    assert [one.start for one in reading.slices("b")] == [DAY + 600, DAY + 900, DAY + 1200]
    assert list(reading.by_slo) == ["b"]
    assert folder.read(DAY, DAY).by_slo == {}


def test_absent_slices_and_missing_parts_are_missing_time_and_never_zero_errors(folder: Ledger) -> None:
    folder.write("prod", [made(0), made(2, missing_s=100)])

    reading = folder.read(DAY, DAY + 900)

    assert reading.missing_s("checkout-fast") == 300 + 100
    assert reading.missing_s("search") == 900


def test_slices_of_two_sources_at_the_same_time_are_named_since_they_would_count_twice(folder: Ledger) -> None:
    folder.write("prod", [made(0)])
    folder.write("datadog", [made(0)])

    (clash,) = day(folder).clashes

    assert clash == (
        "checkout-fast has 1 overlapping slice of the sources datadog, prod, the first at 2026-07-20 00:00:00 UTC; they"
        " would count twice: move the files of one of them out of slis/"
    )


def test_a_slice_across_midnight_twice_or_of_an_invalid_source_is_rejected(folder: Ledger) -> None:
    with pytest.raises(ValueError, match="crosses the end of a day"):
        folder.write("prod", [Slice("a", DAY + DAY_S - 100, 300, 1, 1)])
    with pytest.raises(ValueError, match="two slices of checkout-fast begin at 2026-07-20 00:00:00 UTC"):
        folder.write("prod", [made(0), made(0, good=1)])
    for name in ("", "../up", "Prod", "a/b", "\u202e"):
        with pytest.raises(UsageError, match="invalid name of a source"):
            folder.write(name, [made(0)])


@pytest.mark.parametrize(
    "changes", [{"good": 1001}, {"good": -1}, {"width": 0}, {"missing_s": 301}, {"missing_s": -1}, {"total": 1 << 60}]
)
def test_impossible_counts_are_no_slice(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"possible|width|missing"):
        replace(made(0), **changes)  # type: ignore[arg-type]


# -- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["torn", "gone"])
def test_a_lost_correction_does_not_bring_the_better_counts_back(folder: Ledger, tmp_path: Path, damage: str) -> None:
    folder.write("prod", [made(0)])
    folder.write("prod", [made(0, good=1)])
    folder.write("prod", [made(1)])
    folder.write("other", [made(2)])
    path = tmp_path / "history/slis/day=2026-07-20/prod-2.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    if damage == "gone":
        path.unlink()

    reading = day(folder)

    assert [one.start for one in reading.slices("checkout-fast")] == [made(1).start, made(2).start]
    (why,) = reading.unreadable
    assert why.startswith(f"slis/day=2026-07-20/prod-2.parquet is {'left out' if damage == 'torn' else 'gone'}")
    folder.write("prod", [made(0), made(1)])
    assert [one.good for one in day(folder).slices("checkout-fast")] == [990, 990, 990]


def test_what_a_torn_revision_had_is_written_again_as_the_next_revision(folder: Ledger, tmp_path: Path) -> None:
    folder.write("prod", [made(0)])
    files(tmp_path)[0].write_bytes(b"")

    (revision,) = folder.write("prod", [made(0)])

    assert revision.number == 2
    assert day(folder).slices("checkout-fast") == [made(0)]


def test_counts_after_tomorrow_show_that_the_clock_is_behind(folder: Ledger) -> None:
    folder.write("prod", [made(0)])

    assert [folder.ahead(DAY - DAY_S * days) for days in (-40, 0, 1)] == ["", "", ""]
    assert folder.ahead(DAY - 2 * DAY_S).startswith(
        "the ledger has counts of 2026-07-20, and the clock of this machine"
    )
    assert "2026-06-25" in folder.ahead(DAY - 25 * DAY_S)


def test_any_damaged_byte_is_found_or_harmless() -> None:
    slices = [made(n, missing_s=n % 7) for n in range(50)]
    data = to_parquet(Revision("2026-07-20", "prod", 1, "2026-07-21T00:00:00.000Z"), rows_of(slices))
    draw = random.Random(1)
    for _ in range(1000):
        at = draw.randrange(len(data))
        torn = data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
        try:
            _, rows = from_parquet(torn)
        except ValueError:
            continue
        assert rows.slices() == slices


def test_a_foreign_parquet_file_and_other_bytes_are_left_out(folder: Ledger, tmp_path: Path) -> None:
    foreign = BytesIO()
    write_table([("a", int)], [[(1,)]], foreign)
    place = tmp_path / "history/slis/day=2026-07-20"
    place.mkdir(parents=True)
    (place / "prod-1.parquet").write_bytes(foreign.getvalue())
    (place / "prod-2.parquet").write_bytes(b"PAR1" * 10)
    (place / "notes.txt").write_text("mine")

    folder.write("prod", [made(0)])

    reading = day(folder)
    assert reading.slices("checkout-fast") == [made(0)]
    assert "it is not a file of a ledger: it has no description" in reading.unreadable[0]
    assert [one.split()[0] for one in reading.unreadable] == [
        "slis/day=2026-07-20/prod-1.parquet",
        "slis/day=2026-07-20/prod-2.parquet",
    ]


def test_a_file_under_another_name_is_left_out(folder: Ledger, tmp_path: Path) -> None:
    folder.write("prod", [made(0)])
    (path,) = files(tmp_path)
    path.rename(path.with_name("prod-7.parquet"))

    (why,) = day(folder).unreadable

    assert why.endswith("it is the revision 2026-07-20/prod-1 under another name")


def test_a_newer_format_is_named_and_nothing_is_added_to_its_day(folder: Ledger, tmp_path: Path) -> None:
    folder.write("prod", [made(0)])
    (path,) = files(tmp_path)
    text = about(path.read_bytes())[8:].replace('"format":1', '"format":3')
    columns = [(name, of) for name, of in COLUMNS.items()]
    row = tuple(msgspec.structs.astuple(msgspec.convert(made(0), Row, from_attributes=True)))
    file = BytesIO()
    write_table(columns, [[row]], file, f"{crc32(text.encode()):08x}{text}")
    path.write_bytes(file.getvalue())

    (why,) = day(folder).unreadable
    with pytest.raises(UsageError, match="was written by a newer loadgen, so nothing is added") as caught:
        folder.write("prod", [made(1)])

    assert why.endswith("it has format 3, and this loadgen reads formats up to 2; update loadgen")
    assert "update loadgen" in caught.value.hint


class Row(msgspec.Struct):
    slo: str
    start: int
    width: int
    good: int
    total: int
    missing_s: int
    estimated: bool
    evidence: str


# -- two writers ----------------------------------------------------------------------------------


def test_writers_at_the_same_time_lose_nothing(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: ledger.write("prod", [made(n), made(100)]), range(8)))

    reading = day(ledger)

    assert [one.start for one in reading.slices("checkout-fast")] == [DAY + 300 * n for n in (*range(8), 100)]
    assert not reading.unreadable


# -- sums and revisions, for any input ------------------------------------------------------------

counts = st.integers(0, 1 << 40)
slices = st.lists(
    st.builds(
        lambda n, good, bad, missing, estimated: Slice("a", DAY + 300 * n, 300, good, good + bad, missing, estimated),
        st.integers(0, 287),
        counts,
        counts,
        st.integers(0, 300),
        st.booleans(),
    ),
    max_size=20,
    unique_by=lambda one: one.start,
)


@given(slices, st.lists(st.integers(0, 20), max_size=4), st.randoms())
def test_the_sum_does_not_depend_on_how_the_slices_are_split_or_ordered(
    slices: list[Slice], cuts: list[int], draw: random.Random
) -> None:
    whole = sum_of(slices)
    draw.shuffle(slices)
    edges = [0, *sorted(cuts), len(slices)]

    parts = [sum_of(slices[a:b]) for a, b in pairwise(edges)]

    assert sum(parts, Sum()) == whole
    assert sum(reversed(parts), Sum()) == whole


@given(st.lists(slices, min_size=1, max_size=3))
def test_revisions_are_idempotent_and_the_newest_value_of_each_slice_is_read(revisions: list[list[Slice]]) -> None:
    expected: dict[int, Slice] = {}
    with TemporaryDirectory() as path:
        ledger = Ledger.open(path)
        for one in revisions:
            ledger.write("prod", one)
            assert ledger.write("prod", one) == ()
            expected |= {each.start: each for each in one}

        found = day(ledger)

    assert found.slices("a") == [expected[start] for start in sorted(expected)]
    assert sum_of(found.slices("a")) == (found.by_slo["a"].sum() if expected else Sum())


def test_slices_begin_at_multiples_of_their_width() -> None:
    assert list(starts_between(DAY + 1, DAY + 1000, 300)) == [DAY + 300, DAY + 600]
    assert day_of(DAY) == "2026-07-20"


def test_reading_a_ledger_imports_neither_pandas_nor_scipy(tmp_path: Path) -> None:
    """Both take half a second of CPU, in each `loadgen slo status`."""
    Ledger.open(str(tmp_path)).write("prod", [Slice("a", 0, 300, 9, 10)])
    code = (
        "import sys, loadgen.programme.anomalies.find; from loadgen.programme.ledger.ledger import Ledger; "
        f"print(Ledger.open({str(tmp_path)!r}).read(0, 300).by_slo['a'].sum().good, "
        "*({'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "9\n"


def test_columns_of_several_row_groups_are_read_as_one_array() -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    table = arrow.table({"n": [1, 2, 3], "x": [0.5, 1.5, 2.5], "is": [True, False, True], "name": ["a", "b", "a"]})
    whole, none = BytesIO(), BytesIO()
    parquet.write_table(table, whole, row_group_size=1)
    parquet.write_table(table[:0], none)
    types = {"n": int, "x": float, "is": bool, "name": str}

    _, found = read_arrays(whole.getvalue(), types)
    _, empty = read_arrays(none.getvalue(), types)

    assert [(found[name].tolist(), found[name].dtype) for name in ("n", "x", "is")] == [
        ([1, 2, 3], np.int64),
        ([0.5, 1.5, 2.5], np.float64),
        ([True, False, True], np.bool_),
    ]
    assert [(len(empty[name]), empty[name].dtype) for name in ("n", "x", "is")] == [
        (0, np.int64),
        (0, np.float64),
        (0, np.bool_),
    ]
    assert found["name"][1] == ("a", "b")
