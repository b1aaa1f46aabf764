"""Counts from CSV files: what is read, and each fault with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.csv_counts import CsvCounts, _by_lines, parse_csv

START = 1_784_505_600
"""2026-07-20, 0 h UTC."""
HEADER = "time[UTC],slo,good,total"


def parsed(*lines: str, width: int = 300, takes_gaps: bool = False, end: str = "\n") -> CsvCounts:
    return parse_csv(end.join(lines).encode(), width, "counts.csv", takes_gaps=takes_gaps)


def slices(found: CsvCounts) -> list[tuple[str, int, int, int]]:
    assert not found.faults
    assert found.rows is not None
    return [(one.slo, one.start - START, one.good, one.total) for one in found.rows.slices()]


def faults(found: CsvCounts) -> list[str]:
    assert found.rows is None
    return [str(one) for one in found.faults]


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("time[UTC]", "2026-07-20T00:00:00", "2026-07-20 00:05:00"),
        ("time [Europe/Berlin]", "2026-07-20T02:00:00", "2026-07-20T02:05:00"),
        ("time", "2026-07-20T00:00:00Z", "2026-07-20T02:05:00+02:00"),
        ("time[unix s]", str(START), str(START + 300)),
        ("time[unix ms]", f"{START}000", f"{START + 300}000"),
        ("time[UTC]", "2026-07-20T00:00", "2026-07-20T00:05"),
    ],
)
def test_times_have_their_unit_and_zone_in_the_header(header: str, first: str, second: str) -> None:
    found = parsed(f"{header},slo,good,total", f"{first},a,9,10", f"{second},a,10,10")

    assert slices(found) == [("a", 0, 9, 10), ("a", 300, 10, 10)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_other_columns_and_their_order_do_not_matter(end: str) -> None:
    found = parsed("\ufeffslo,team,total,good,time[UTC]", "a,x,10,9,2026-07-20T00:00:00", end=end)

    assert slices(found) == [("a", 0, 9, 10)]


def test_rows_of_several_objectives_may_be_mixed() -> None:
    rows = [f"2026-07-20T00:{5 * n:02}:00,{slo},1,2" for n in range(3) for slo in "ba"]

    assert sorted(one[:2] for one in slices(parsed(HEADER, *rows))) == [
        *[("a", 300 * n) for n in range(3)],
        *[("b", 300 * n) for n in range(3)],
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2026-07-20T00:05:00,a,11,10", "11 good requests are more than all 10"),
        ("2026-07-20T00:05:00,a,-1,10", "-1 is negative"),
        ("2026-07-20T00:05:00,a,.99,1", '".99" is not a whole number: good and total are counts, not ratios'),
        ("2026-07-20T00:05:00,a,,10", '"" is not a whole number: good and total are counts, not ratios'),
        ("2026-07-20T00:05:00,a,1", "3 cells, but the header has 4"),
        ("yesterday,a,1,2", '"yesterday" is not a time such as 2026-07-20T00:00:00'),
        ("2026-07-20T00:05:00.5,a,1,2", '"2026-07-20T00:05:00.5" is not a whole second'),
        (
            "2026-07-20T00:05:01,a,1,2",
            "a slice of 300 s cannot begin at 2026-07-20 00:05:01 UTC: it begins at a multiple of 300 s",
        ),
        ("2026-07-20T00:05:00,,1,2", "slo is empty or has more than 200 characters"),
        ("2026-07-20T00:00:00,a,1,2", '"2026-07-20T00:00:00" of a is there twice, first in line 2'),
        ("2026-07-19T00:00:00,a,1,2", '"2026-07-19T00:00:00" of a is not ordered by time: it comes after in line 2'),
        (
            "2026-07-20T00:15:00,a,1,2",
            "2 slices of a are absent before it, after line 2: add them, or take gaps as missing",
        ),
        (
            "2026-07-20T00:05:00,a,1,9999999999999999999",
            '"9999999999999999999" is not a whole number: good and total are counts, not ratios',
        ),
    ],
)
def test_a_fault_has_its_line(row: str, why: str) -> None:
    found = parsed(HEADER, "2026-07-20T00:00:00,a,9,10", row)

    assert faults(found) == [f"counts.csv:3: {why}"]


def test_all_faults_are_named_at_once_and_at_most_20() -> None:
    found = faults(parsed(HEADER, *["x,a,1,2"] * 50))

    assert len(found) == 21
    assert found[0].startswith("counts.csv:2: ")
    assert found[-1] == "counts.csv: there may be more faults; they are looked for when these are gone"


def test_a_time_without_a_zone_is_a_fault() -> None:
    (fault,) = faults(parsed("time,slo,good,total", "2026-07-20T00:00:00,a,1,2"))

    assert fault == (
        'counts.csv:2: "2026-07-20T00:00:00" has no zone: write it in the header, time[UTC], or at each time, +02:00'
    )


@pytest.mark.parametrize(
    ("at", "why"),
    [("2026-10-25T02:30:00", "is twice on the clock"), ("2026-03-29T02:30:00", "is not on the clock")],
)
def test_a_time_that_summer_time_makes_twice_or_never_is_a_fault(at: str, why: str) -> None:
    (fault,) = faults(parsed("time[Europe/Berlin],slo,good,total", f"{at},a,1,2"))

    assert fault.startswith(f'counts.csv:2: "{at}" {why} when summer time changes')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "counts.csv: the file is empty"),
        (HEADER, "counts.csv: there are no rows"),
        ("a,b", "counts.csv:1: the header needs each of these columns once: time, slo, good, total"),
        ("time[UTC],slo,slo,good,total", "counts.csv:1: the header needs each of these columns once: slo"),
        ("time[Mars],slo,good,total", 'counts.csv:1: "Mars" is neither a zone nor a unit'),
        ("time[../../etc/passwd],slo,good,total", 'counts.csv:1: "../../etc/passwd" is neither a zone nor a unit'),
        (f'{HEADER}\n"2026', "counts.csv:2: not CSV: unexpected end of data"),
        (f"{HEADER}\n{'x' * 20_000}", "counts.csv:1: not CSV: a line has more than 10,000 characters"),
        (f"{HEADER}\na\0b", "counts.csv:1: not CSV: a line has the character NUL"),
    ],
)
def test_a_file_that_is_not_such_a_table_is_a_fault(text: str, why: str) -> None:
    assert faults(parsed(text))[0].startswith(why)


def test_bytes_that_are_no_text_are_a_fault() -> None:
    found = parse_csv(f"{HEADER}\n".encode() + b"\xff\xfe\xff", 300, "counts.csv")

    assert faults(found) == ["counts.csv: not a text in UTF-8: invalid start byte"]


def test_gaps_can_be_taken_as_missing_slices() -> None:
    found = parsed(HEADER, "2026-07-20T00:00:00,a,9,10", "2026-07-20T00:15:00,a,1,2", takes_gaps=True)

    assert slices(found) == [("a", 0, 9, 10), ("a", 900, 1, 2)]
    assert found.missing == 2
    assert found.gaps == (
        "a: 2 slices are missing in 1 gap, the first from 2026-07-20 00:05:00 UTC to 2026-07-20 00:15:00 UTC",
    )


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.integers(-1, 9), st.integers(0, 9)), max_size=12),
    st.booleans(),
)
def test_reading_by_columns_and_by_lines_gives_the_same(
    rows: list[tuple[int, str, int, int]], takes_gaps: bool
) -> None:
    lines = ["time[unix s],slo,good,total", *(f"{START + 300 * n},{slo},{g},{t}" for n, slo, g, t in sorted(rows))]
    data = "\n".join(lines).encode()

    fast, slow = parse_csv(data, 300, "f", takes_gaps=takes_gaps), _by_lines(data, 300, "f", takes_gaps)

    assert fast.faults == slow.faults
    assert (fast.gaps, fast.missing) == (slow.gaps, slow.missing)
    made: list[list[Slice]] = [[] if one.rows is None else sorted(one.rows.slices()) for one in (fast, slow)]
    assert made[0] == made[1]
