"""Large files: what numpy finds in them is what the `csv` module finds, or it says that it does not know."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.dsl.data import feed, rowfile, rowindex
from loadgen.dsl.data.rowindex import csv_records, json_records
from loadgen.dsl.loading.loader import load
from loadgen.errors import ScenarioError
from tests.support.scenarios import write


@dataclass
class Item:
    sku: str
    count: int


@pytest.fixture(params=[5, 1 << 22])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at in pieces; what crosses their edges must not matter."""
    monkeypatch.setattr(rowindex, "_PIECE_BYTES", request.param)


def bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def read_by_csv(text: str) -> list[list[str]] | None:
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None


@pytest.mark.usefixtures("piece_bytes")
@given(st.text(alphabet=',"\n\rab\u00e9', max_size=40))
@example('a,b,c\n1,2,x"\ny,z,w"\n')  # quotes in the middle of cells, that balance
@example('a,b\n"x\ny",2\n\n3,"a""b"')
@example("a,b\r\n1,2\r\n\r\n3,4")
def test_records_are_those_of_the_csv_module_or_unknown(text: str) -> None:
    records = csv_records(bytes_of(text), ",")
    if records is None:
        return
    data = text.encode()
    cut = [next(csv.reader((data[a:b].decode(),))) for a, b in zip(records.starts, records.ends, strict=True)]
    assert cut == read_by_csv(text)


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a,b\n1,2\n3,4\n", 3),
        ("a,b\n1,2\n3,4", 3),
        ('a,b\n"1,\n1",2\n', 2),
        ("a\n\n1\n", 2),
        ("a,b\n1\n", None),
        ('a,b\n"1,2\n', None),
        ("a,b\r1,2\n", None),
        ("", None),
    ],
)
def test_records_of_a_file(text: str, count: int | None) -> None:
    records = csv_records(bytes_of(text), ",")
    assert (None if records is None else len(records)) == count


def test_bytes_that_are_no_text_and_delimiters_of_several_bytes_are_unknown() -> None:
    assert csv_records(np.frombuffer(b"a\n\xff\n", dtype=np.uint8), ",") is None
    assert csv_records(bytes_of("a\u00a7b\n1\u00a72\n"), "\u00a7") is None
    assert json_records(np.frombuffer(b'{"a": "\xff"}\n', dtype=np.uint8)) is None
    assert json_records(bytes_of("[1]\n")) is None


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as large, and few of their rows are checked."""
    monkeypatch.setattr(rowfile, "FULL_CHECK_BYTES", 0)
    monkeypatch.setattr(rowfile, "_CHECKED", 10)


def write_rows(path: Path, rows: list[str], header: str = "sku,count") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.usefixtures("large")
def test_a_large_file_gives_the_same_rows_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "items.csv", [f'"s,{i}",{i}' for i in range(100)])
    one = feed.open_feed(feed.csv(path, Item))
    monkeypatch.setattr(rowfile, "FULL_CHECK_BYTES", 1 << 20)
    two = feed.open_feed(feed.csv(path, Item))
    assert [one.row(i) for i in range(100)] == [two.row(i) for i in range(100)]
    assert (one.unchecked, two.unchecked) == (80, 0)


@pytest.mark.usefixtures("large")
def test_lines_of_json_may_be_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(f'{{"sku": "s{i}", "count": {i}}}\n' for i in range(30)))
    rows = feed.open_feed(feed.jsonl(path, Item))
    assert (len(rows), rows.row(29), rows.unchecked) == (30, Item("s29", 29), 10)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("rows", "header", "told"),
    [
        (["a,1", "b,x"], "sku,count", '3 column "count": expected int, got "x"'),
        (["a,1", "b"], "sku,count", "3 the row has 1 cells, but the header has 2"),
        (["a,1"], "sku,cnt", '1 no column "count" for Item, only "sku", "cnt"'),
        ([], "sku,count", "1 the file has a header but no rows"),
        (["a,1", 'b"', "c,3"], "sku,count", "3 the row has 1 cells, but the header has 2"),
    ],
)
def test_faults_of_large_files_are_told_as_those_of_small_ones(
    tmp_path: Path, rows: list[str], header: str, told: str
) -> None:
    path = write_rows(tmp_path / "items.csv", rows, header)
    with pytest.raises(ScenarioError) as raised:
        feed.open_feed(feed.csv(path, Item))
    (fault,) = raised.value.faults
    assert f"{fault.line} {fault.message}" == told


@pytest.mark.usefixtures("large")
def test_a_wrong_line_of_json_in_a_large_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"sku": "a", "count": 1}\n\n{"sku": "a"}\n')
    with pytest.raises(ScenarioError) as raised:
        feed.open_feed(feed.jsonl(path, Item))
    assert [(fault.line, fault.message) for fault in raised.value.faults] == [(3, 'no "count" for Item, only "sku"')]


@pytest.mark.usefixtures("large")
def test_the_loader_says_that_not_all_rows_were_checked(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.csv", [f"s{i},{i}" for i in range(50)])
    path = write(
        tmp_path,
        """
        from dataclasses import dataclass
        from loadgen import Plan, User, arrivals, feed, journey

        @dataclass
        class Item:
            sku: str
            count: int

        @journey(data=feed.csv("items.csv", Item))
        async def buy(user: User, item: Item) -> None: ...

        plan = Plan("http://x", arrivals("1/s").hold("1s"), buy)
        """,
    )
    (warning,) = load(path).warnings
    assert (warning.line, warning.message) == (
        10,
        "items.csv: the structure of all 50 rows was checked, but the types of only some",
    )
