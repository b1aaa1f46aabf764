"""Rows: checked when opened, dealt out by number alone, the same on every agent."""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.data import feed
from loadgen.dsl.data.feed import Feed, Rows, open_feed
from loadgen.errors import Fault, ScenarioError


@dataclass(frozen=True)
class Shopper:
    email: str
    age: int
    is_member: bool = False


class Order(msgspec.Struct, frozen=True, rename={"item_count": "items"}):
    sku: str
    item_count: int
    note: str | None = None


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Item:
    sku: str
    price: float
    size: Size
    since: date
    left: int | None


@dataclass
class Guarded:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.low == 13:
            raise LookupError("no thirteen")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a file; its path is absolute, so that it is found from here."""

    def write(content: str | bytes, name: str = "rows.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def every(opened: Rows[Any]) -> list[Any]:
    return [opened.row(n) for n in range(len(opened))]


def faults_of(source: Feed[Any]) -> tuple[Fault, ...]:
    with pytest.raises(ScenarioError) as caught:
        open_feed(source)
    return caught.value.faults


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "END"])
def test_a_csv_is_read_with_any_line_end_and_a_byte_order_mark(write: Any, end: str, bom: str, last: str) -> None:
    text = f"{bom}email,age,is_member{end}ada@x,36,true{end}bob@x,41,0{last.replace('END', end)}"
    opened = open_feed(feed.csv(write(text), Shopper))
    assert every(opened) == [Shopper("ada@x", 36, True), Shopper("bob@x", 41, False)]


def test_quotes_keep_commas_quotes_and_newlines(write: Any) -> None:
    opened = open_feed(feed.csv(write('age,email\n1,"a, ""b""\nc"\n\n2,"d\r\ne"\n3,ü\n'), Shopper))
    assert [row.email for row in every(opened)] == ['a, "b"\nc', "d\r\ne", "ü"]


def test_columns_are_found_by_name_and_others_are_left(write: Any) -> None:
    opened = open_feed(feed.csv(write("city, age ,email\nParis,3,a\n"), Shopper))
    assert every(opened) == [Shopper("a", 3)]


def test_a_struct_is_read_by_the_names_it_has_in_files(write: Any) -> None:
    opened = open_feed(feed.csv(write("sku,items,note\nx,2,\ny,3,hi\n"), Order))
    assert every(opened) == [Order("x", 2, None), Order("y", 3, "hi")]


def test_cells_become_the_types_of_the_schema(write: Any) -> None:
    opened = open_feed(feed.csv(write("sku,price,size,since,left\na,1.5,l,2026-01-31,\nb,2,s,2026-02-01,7\n"), Item))
    assert every(opened) == [
        Item("a", 1.5, Size.LARGE, date(2026, 1, 31), None),
        Item("b", 2.0, Size.SMALL, date(2026, 2, 1), 7),
    ]


def test_other_separators_are_read_when_they_are_said(write: Any) -> None:
    opened = open_feed(feed.csv(write("email;age\na,b;3\n"), Shopper, delimiter=";"))
    assert every(opened) == [Shopper("a,b", 3)]


def test_json_lines_are_read_and_unknown_keys_left(write: Any) -> None:
    path = write('{"sku": "a", "items": 2, "more": [1]}\n\n{"items": 3, "sku": "b", "note": "x\\ny"}', "o.jsonl")
    assert every(open_feed(feed.jsonl(path, Order))) == [Order("a", 2), Order("b", 3, "x\ny")]


def test_rows_that_stand_in_the_scenario_are_themselves() -> None:
    items = [Shopper("a", 1), Shopper("b", 2)]
    opened: Rows[Shopper] = open_feed(feed.rows(items))
    assert opened.row(1) is items[1]


def test_each_use_of_a_file_has_a_row_of_its_own(write: Any) -> None:
    opened = open_feed(feed.csv(write("low,high\n1,2\n"), Guarded))
    first = opened.row(0)
    assert first is not None
    first.high = 99
    assert opened.row(1) == Guarded(1, 2)


def test_a_path_is_seen_from_the_file_that_names_it() -> None:
    assert feed.csv("data/x.csv", Shopper).path == Path(__file__).parent / "data/x.csv"


def test_a_feed_is_read_once(write: Any) -> None:
    source = feed.csv(write("email,age\na,1\n"), Shopper)
    assert open_feed(source) is open_feed(source)
    assert open_feed(source.shuffle()) is not open_feed(source)


def test_a_schema_is_understood_while_its_module_is_there(write: Any) -> None:
    """The loader takes a scenario's modules out of `sys.modules` before the rows are read."""
    module = types.ModuleType("gone_scenario")
    sys.modules["gone_scenario"] = module
    exec(  # the module of a scenario, with annotations as text
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from loadgen.dsl.data import feed\n"
        "class Colour(str): ...\n"
        "@dataclass\nclass Thing:\n    name: str\n    count: int | None\n"
        f"source = feed.csv({str(write('name,count' + chr(10) + 'a,'))!r}, Thing)\n",
        module.__dict__,
    )
    del sys.modules["gone_scenario"]
    row: Any = open_feed(module.source).row(0)
    assert (row.name, row.count) == ("a", None)


# -- dealing out ----------------------------------------------------------------------------------


def numbers(count: int) -> Feed[int]:
    return feed.rows(range(count))


def test_rows_start_again_unless_they_are_unique() -> None:
    opened = open_feed(numbers(3))
    assert [opened.row(n) for n in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("when_out", "then"), [("stop", [0, 1, None, None]), ("cycle", [0, 1, 0, 1])])
def test_unique_rows_that_ran_out_stop_or_start_again(when_out: Literal["stop", "cycle"], then: list[int]) -> None:
    opened = open_feed(numbers(2).unique(when_out=when_out))
    assert [opened.row(n) for n in range(4)] == then


def test_unique_says_how_many_rows_it_needs() -> None:
    assert numbers(5).needs_rows(100) == 1
    assert numbers(5).unique().needs_rows(100) == 100
    assert numbers(5).unique().shuffle(seed=1).needs_rows(100) == 100
    assert numbers(5).unique(when_out="cycle").needs_rows(100) == 1
    assert numbers(5).unique().cycle().needs_rows(100) == 1
    assert numbers(5).random(seed=1).needs_rows(100) == 1


@given(st.integers(1, 300), st.integers(-(2**70), 2**70))
def test_shuffled_rows_come_once_each_in_the_same_order_on_every_agent(count: int, seed: int) -> None:
    one, other = (open_feed(numbers(count).unique().shuffle(seed=seed)) for _ in range(2))
    assert sorted(every(one)) == list(range(count))
    assert every(one) == every(other)
    assert one.row(count) is None


def test_a_shuffle_is_not_the_order_of_the_file_and_another_seed_is_another_order() -> None:
    orders = {tuple(every(open_feed(numbers(100).shuffle(seed=seed)))) for seed in range(20)}
    assert len(orders) == 20
    assert tuple(range(100)) not in orders


def test_the_orders_and_draws_of_a_seed_never_change() -> None:
    """Golden: a run of an old version must be repeatable with a new one."""
    assert every(open_feed(numbers(10).shuffle(seed=7))) == [1, 8, 5, 7, 0, 9, 4, 6, 3, 2]
    drawn = open_feed(numbers(1000).random(seed=7))
    assert [drawn.row(n) for n in range(8)] == [389, 16, 900, 582, 452, 249, 467, 328]


@given(st.integers(1, 1000), st.integers(), st.integers(0, 10**12))
def test_the_nth_draw_follows_from_seed_and_n_alone(count: int, seed: int, n: int) -> None:
    one, other = (open_feed(numbers(count).random(seed=seed)) for _ in range(2))
    other.row(n + 1)
    drawn = one.row(n)
    assert drawn is not None
    assert drawn == other.row(n)
    assert 0 <= drawn < count


def test_draws_are_even_over_the_rows_for_any_seed() -> None:
    """Chi square of 10 rows: mean 9, and 5 % of seeds beyond 16.92."""
    chi = []
    for seed in range(200):
        opened = open_feed(numbers(10).random(seed=seed))
        drawn = [opened.row(n) for n in range(1_000)]
        chi.append(sum((drawn.count(i) - 100) ** 2 / 100 for i in range(10)))
    assert 8.4 < sum(chi) / 200 < 9.6
    assert 2 <= sum(c > 16.92 for c in chi) <= 20


# -- faults ---------------------------------------------------------------------------------------


def test_a_missing_column_is_told_with_those_there_are_and_the_closest(write: Any) -> None:
    path = write("Emails,age,city\na,1,x\n")
    (fault,) = faults_of(feed.csv(path, Shopper))
    assert (fault.file, fault.line) == (str(path), 1)
    assert fault.message == 'no column "email" for Shopper, only "Emails", "age", "city"'
    assert fault.hint == 'did you mean "Emails"?'


def test_all_missing_columns_are_told(write: Any) -> None:
    assert len(faults_of(feed.csv(write("x,y\n1,2\n"), Shopper))) == 2


def test_another_separator_is_suspected(write: Any) -> None:
    hints = {fault.hint for fault in faults_of(feed.csv(write("email;age\na;1\n"), Shopper))}
    assert hints == {"if the file is separated by ';', write delimiter=';'"}


def test_a_column_that_is_there_twice_is_told(write: Any) -> None:
    (fault,) = faults_of(feed.csv(write("email,age,age\na,1,2\n"), Shopper))
    assert fault.message == 'column "age" occurs 2 times'


def test_a_cell_of_the_wrong_type_is_told_with_the_line_its_record_begins_at(write: Any) -> None:
    path = write('email,age\na,1\n"b\nb",many\n\nc,\nd,4\n')
    assert [(f.line, f.message) for f in faults_of(feed.csv(path, Shopper))] == [
        (3, 'column "age": expected int, got "many"'),
        (6, 'column "age": expected int, got nothing'),
    ]


def test_a_record_with_another_number_of_cells_is_told(write: Any) -> None:
    path = write("email,age\na\nb,2,3\nc,3\n")
    assert [(f.line, f.message) for f in faults_of(feed.csv(path, Shopper))] == [
        (2, "the row has 1 cells, but the header has 2"),
        (3, "the row has 3 cells, but the header has 2"),
    ]


def test_ten_faults_are_told_and_the_rest_counted(write: Any) -> None:
    path = write("email,age\n" + "a,x\n" * 2500)
    faults = faults_of(feed.csv(path, Shopper))
    assert [f.line for f in faults] == list(range(2, 13))
    assert faults[-1].message == "and 2,490 more errors"


def test_what_the_schema_itself_refuses_is_told(write: Any) -> None:
    path = write("low,high\n1,2\n5,4\n13,20\n")
    assert [(f.line, f.message) for f in faults_of(feed.csv(path, Guarded))] == [
        (3, "low is above high"),
        (4, "LookupError: no thirteen"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"", 0, "the file is empty"),
        (b"\xef\xbb\xbf", 0, "the file is empty"),
        (b"\n\r\n \n", 0, "the file is empty"),
        (b"email,age\n", 1, "the file has a header but no rows"),
        (b"email,age\n\n\n", 1, "the file has a header but no rows"),
        (b"email,age\na,1\nb\xff,2\n", 3, "byte 0xff is not UTF-8"),
        ("email,age\na,1\n".encode("utf-16"), 1, "UTF-16"),
        (b'email,age\na,1\n"b,2\nc,3\n', 3, "a quote is opened here and not closed"),
        (b'email,age\n"b"x,2\n', 2, "invalid CSV"),
        (b"email,age\ra,1\rb,2\r", 1, "bare carriage return"),
    ],
)
def test_a_file_that_is_no_csv_is_told(write: Any, content: bytes, line: int, says: str) -> None:
    path = write(content)
    (fault,) = faults_of(feed.csv(path, Shopper))
    assert (fault.file, fault.line) == (str(path), line)
    assert says in fault.message


def test_lines_that_are_no_json_or_lack_a_key_are_told(write: Any) -> None:
    path = write(
        '{"sku": "a", "items": 2}\n{"sku": \n{"sku": "b", "item": 1}\n{"sku": "c", "items": "x"}\n[]\n', "o.jsonl"
    )
    told = [(f.line, f.message, f.hint) for f in faults_of(feed.jsonl(path, Order))]
    assert [line for line, _, _ in told] == [2, 3, 4, 5]
    assert told[0][1].startswith("invalid JSON: ")
    assert told[1][1:] == ('no "items" for Order, only "sku", "item"', 'did you mean "item"?')
    assert told[2][1] == "Expected int, got str - at $.items"
    assert told[3][1] == "Expected object, got array"


def test_a_file_that_is_not_there_is_told_at_the_line_that_names_it(write: Any) -> None:
    path = write("email,age\na,1\n", "shoppers.csv")
    source = feed.csv(path.with_name("shopers.csv"), Shopper)
    (fault,) = faults_of(source)
    assert (fault.file, fault.line) == (__file__, source.origin.line)
    assert fault.message == "cannot read shopers.csv: No such file or directory"
    assert fault.hint == 'did you mean "shoppers.csv"?'


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (fault,) = faults_of(feed.csv(tmp_path, Shopper))
    assert "Is a directory" in fault.message


odd: Any = object()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (feed.csv("x.csv", odd), "is not a row type"),
        (feed.csv("x.csv", dict), "dict is not a row type"),
        (feed.csv(odd, Shopper), "is not a path of a file"),
        (feed.csv("", Shopper), "is not a path of a file"),
        (feed.jsonl("x.jsonl", str), "str is not a row type"),
        (feed.csv("x.csv", Shopper, delimiter="ab"), "must be one character"),
        (feed.rows([]), "feed.rows got no rows"),
        (feed.rows("abc"), "feed.rows needs a list, got str"),
        (feed.rows(odd), "feed.rows needs a list, got object"),
        (feed.rows([1]).unique(when_out=odd), 'must be "stop" or "cycle"'),
        (feed.rows([1]).shuffle(seed=odd), "must be a whole number"),
        (feed.rows([1]).random(seed=True), "must be a whole number"),
        (feed.rows([1]).unique().random(), "exclude each other"),
    ],
)
def test_a_feed_that_makes_no_sense_is_a_fault_and_no_exception(source: Feed[Any], says: str) -> None:
    (fault,) = source.faults
    assert says in fault.message
    assert fault.file == __file__
    assert faults_of(source) == source.faults


def test_a_schema_that_cannot_be_read_is_told() -> None:
    @dataclass
    class Broken:
        name: Nowhere  # type: ignore[name-defined]  # noqa: F821

    (fault,) = feed.csv("x.csv", Broken).faults
    assert fault.message.startswith("Broken cannot be read from a file: ")


def test_each_fault_of_a_feed_stands_at_the_line_that_says_it() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    first = frame.f_lineno + 2
    source: Feed[Any] = (
        feed.rows([])
        .shuffle(seed=odd)
    )  # fmt: skip
    assert [fault.line - first for fault in source.faults] == [0, 1]


def test_many_rows_are_all_there(write: Any) -> None:
    count = 100_000
    path = write("email,age\n" + "".join(f"u{i},{i}\n" for i in range(count)))
    opened = open_feed(feed.csv(path, Shopper).unique())
    assert len(opened) == count
    assert opened.row(count - 1) == Shopper(f"u{count - 1}", count - 1)
