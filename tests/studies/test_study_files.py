"""A study as text, page, JSON and CSV: the same figures everywhere, and texts from outside are harmless in each."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from loadgen import open_study
from loadgen.errors import ExitCode, UsageError
from loadgen.report.charts.round_places import log_places
from loadgen.report.report_parts import Table
from loadgen.studies.files import as_csv, as_json
from loadgen.studies.page import as_page
from loadgen.studies.report import as_report
from loadgen.studies.study import Drawing, Study, exit_code_of
from loadgen.studies.xy_chart import Axis, Band, Line, Points, Rule, xy_chart

HOSTILE = '<script>alert(1)</script>\x1b[31m"&'


def made(**changes: object) -> Study:
    values: dict[str, object] = {
        "kind": "capacity fit",
        "title": HOSTILE,
        "headline": f"peak at 96.5 users of {HOSTILE}",
        "result": "decided",
        "lines": (HOSTILE,),
        "tables": (Table(HOSTILE, ("load", "x"), ((HOSTILE, "12"),), note=HOSTILE),),
        "drawings": (Drawing(HOSTILE, chart(), HOSTILE),),
        "foot": (HOSTILE,),
        "facts": {"peak_load": 96.5, "why": None},
        "rows": ({"load": 1, "name": "=HYPERLINK(1)"}, {"load": 2.5, "name": HOSTILE}),
        "run_ids": ("20261124-170312",),
    }
    return Study(**(values | changes))  # type: ignore[arg-type]


def chart() -> str:
    return xy_chart(
        HOSTILE,
        [
            Band(HOSTILE, [(1, 80, 90), (36, 1100, 1200)]),
            Line(HOSTILE, [(1, 85), (36, 1150)], is_dashed=True),
            Points(HOSTILE, [(1, 83), (36, 1161)], [(80, 86), None], [HOSTILE]),
            Rule(HOSTILE, 96.5, low=84),
        ],
        x=Axis(HOSTILE),
        y=Axis(HOSTILE, is_log=True),
    )


def test_a_page_contains_no_element_and_no_control_character_of_a_text_from_outside() -> None:
    page = as_page(made()).decode()

    assert "<script" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


def test_the_same_study_gives_the_same_bytes() -> None:
    assert as_page(made()) == as_page(made())
    assert as_json(made()) == as_json(made())


def test_csv_has_one_header_and_no_formula() -> None:
    header, first, second = csv.reader(io.StringIO(as_csv(made()).decode()))

    assert header == ["load", "name"]
    assert first == ["1", "'=HYPERLINK(1)"]
    assert second[0] == "2.5"


def test_a_column_that_only_a_later_row_has_is_empty_in_the_first() -> None:
    header, first, _ = csv.reader(io.StringIO(as_csv(made(rows=({"a": 1}, {"a": 2, "b": 3}))).decode()))

    assert header == ["a", "b"]
    assert first == ["1", ""]


def test_json_rejects_a_number_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json(made(facts={"peak": float("nan")}))


def test_a_notebook_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_bytes(as_json(made()))

    study = open_study(path)

    assert (study.kind, study.facts["peak_load"], study.facts["why"]) == ("capacity fit", 96.5, None)
    assert list(study.frame()["load"]) == [1.0, 2.5]
    assert study.run_ids == ("20261124-170312",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "is not the JSON document of a study"),
        (b"[1", "is not the JSON document of a study"),
        (json.dumps({"format": 99, "kind": "sweep"}).encode(), "has format 99"),
    ],
)
def test_a_file_that_is_no_study_is_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(data)

    with pytest.raises(UsageError, match=message):
        open_study(path)


def test_each_result_has_its_exit_code() -> None:
    codes = [exit_code_of(one) for one in ("decided", "not decided", "failed", "invalid")]

    assert codes == [ExitCode.PASSED, ExitCode.INCOMPLETE, ExitCode.FAILED, ExitCode.INVALID]


def test_the_report_has_the_headline_and_the_tables_of_the_study() -> None:
    report = as_report(made(result="not decided"))

    assert report.result == "inconclusive"
    assert report.tables[0].rows[0][1] == "12"


def test_a_chart_of_nothing_is_empty_and_leaves_out_values_that_are_not_finite() -> None:
    assert xy_chart("none", [], x=Axis("x"), y=Axis("y")) == ""
    assert xy_chart("none", [Line("a", [(1, float("nan"))])], x=Axis("x"), y=Axis("y")) == ""
    drawn = xy_chart("one", [Points("a", [(1, 2), (2, float("inf"))])], x=Axis("x"), y=Axis("y"))
    assert drawn.count("<circle") == 1
    assert "inf" not in drawn


def test_a_logarithmic_axis_leaves_out_zero_and_has_places_within_its_range() -> None:
    drawn = xy_chart("one", [Points("a", [(0, 1), (1, 1), (10_000, 5)])], x=Axis("x", is_log=True), y=Axis("y"))

    assert ">100</text>" in drawn
    assert "nan" not in drawn


def test_places_of_a_logarithmic_axis_are_one_two_and_five_or_powers_of_ten() -> None:
    assert log_places(4, 210, 6) == [5, 10, 20, 50, 100, 200]
    assert log_places(1, 10_000, 6) == [1, 10, 100, 1_000, 10_000]
    assert log_places(37, 39) == [37, 38, 39]
    assert log_places(90, 210) == [100, 200]
