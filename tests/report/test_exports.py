"""Tables, JUnit and Markdown of a run, as other programs read them."""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.extras import how_to_install
from loadgen.outside_text import one_line
from loadgen.report.executive_summary import story_of
from loadgen.report.exports.csv_writer import write_csv
from loadgen.report.exports.junit import junit
from loadgen.report.exports.markdown import markdown
from loadgen.report.exports.parquet import write_parquet
from loadgen.report.exports.rows import SeriesRow, columns, series_rows
from loadgen.report.run_as_dataframes import WindowRow, open_run
from loadgen.report.summary_reader import read
from tests.report.test_story import P95
from tests.report.test_tables import series, summary
from tests.support.examples import examples

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
HOSTILE = "</testcase>\"'&|`@team\nnew line\x00\x1b[31m\ud800 🚀"


def csv_of(kind: type[SeriesRow] | type[WindowRow], rows: Any) -> list[list[str]]:
    file = io.BytesIO()
    write_csv(kind, rows, file)
    return list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))


def xml_of(**changes: Any) -> ElementTree.Element:
    found = read(summary(**changes))
    return ElementTree.fromstring(junit(found, story_of(found)))


def junit_text(**changes: Any) -> bytes:
    found = read(summary(**changes))
    return junit(found, story_of(found))


def said(root: ElementTree.Element) -> dict[str, str]:
    """By name of the case what it is."""
    return {
        str(case.get("name")): next((c.tag for c in case if c.tag != "system-out"), "passed")
        for case in root.iter("testcase")
    }


# -- tables -----------------------------------------------------------------------------------------


def test_series_have_a_line_each_with_bounds_as_inf_and_nothing_where_there_is_nothing() -> None:
    late = series("journey", None, None, censored=12, response_ms={"p50": 12.5, "p99": "> 60000.0"})
    known = series("request", "login", HOSTILE[:20], response_ci_ms={"p95": [43.0, 46.0], "p99": "too few samples"})
    head, first, second = csv_of(SeriesRow, series_rows(read(summary(series=[late, known]))))

    assert head == [field.name for field in fields(SeriesRow)]
    of_first, of_second = (dict(zip(head, line, strict=True)) for line in (first, second))
    assert (of_first["p50_ms"], of_first["p99_ms"], of_first["p95_ms"], of_first["count"]) == (
        "12.5",
        "inf",
        "",
        "4000",
    )
    assert (of_second["p95_low_ms"], of_second["p95_high_ms"], of_second["p99_low_ms"]) == ("43.0", "46.0", "")
    assert of_second["request"] == HOSTILE[:20]


def test_csv_says_which_rows_are_lower_bounds() -> None:
    rows = [series("journey", None, None), series("step", "cart", None, bound="lower")]
    head, *lines = csv_of(SeriesRow, series_rows(read(summary(series=rows))))
    assert [dict(zip(head, line, strict=True))["bound"] for line in lines] == ["", "lower"]


def test_junit_says_that_an_objective_is_not_sure() -> None:
    unsure = summary()["slos"][0] | {"sure": False, "bad_share_low": 0.039, "bad_share_high": 0.056}
    assert b"p(95) &lt; 300ms passed (not sure): " in junit_text(slos=[unsure])


def test_names_that_are_no_unicode_do_not_refuse_the_file() -> None:
    rows = [replace(row, request=HOSTILE) for row in series_rows(read(summary(series=[series("request", None, "x")])))]
    (_, line) = csv_of(SeriesRow, rows)
    assert line[3] == one_line(HOSTILE)


def test_windows_are_the_rows_of_the_opened_run() -> None:
    rows = list(open_run(OLD).windows(regions=True))
    head, *lines = csv_of(WindowRow, rows)

    assert len(lines) == len(rows) > 6
    counts = [int(dict(zip(head, line, strict=True))["count"]) for line in lines]
    assert counts == [row.count for row in rows]


def test_parquet_has_the_same_rows_with_types() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = list(open_run(OLD).windows(outcomes=True))
    file = io.BytesIO()
    write_parquet(WindowRow, iter(rows), file)
    found = parquet.read_table(io.BytesIO(file.getvalue()))

    assert found.column_names == [name for name, _ in columns(WindowRow)]
    assert found.column("count").to_pylist() == [row.count for row in rows]
    assert found.column("p99_ms").to_pylist() == [row.p99_ms for row in rows]
    assert [str(found.schema.field(name).type) for name in ("journey", "count", "warmup", "at_s")] == [
        "string",
        "int64",
        "bool",
        "double",
    ]


def test_parquet_keeps_bounds_and_odd_names_and_an_empty_table_has_its_columns() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    late = series("journey", None, None, response_ms={"p99": "> 60000.0"})
    rows = [replace(row, journey=HOSTILE) for row in series_rows(read(summary(series=[late])))]
    for given_rows, length in ((rows, 1), ([], 0)):
        file = io.BytesIO()
        write_parquet(SeriesRow, given_rows, file)
        found = parquet.read_table(io.BytesIO(file.getvalue()))
        assert (len(found), found.column_names) == (length, [name for name, _ in columns(SeriesRow)])
        assert found.column("p99_ms").to_pylist() == [inf] * length


def test_parquet_without_pyarrow_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pyarrow") as wrong:
        write_parquet(SeriesRow, [], io.BytesIO())
    assert wrong.value.hint == how_to_install("analysis")


# -- JUnit ------------------------------------------------------------------------------------------


def test_each_objective_is_a_case_beside_run_fitness_and_completeness() -> None:
    slos = [
        P95,
        P95 | {"objective": "p(99) < 1s", "verdict": "failed"},
        P95 | {"objective": "x", "verdict": "inconclusive"},
    ]
    root = xml_of(slos=slos, result="failed", exit_code=1, reasons=["SLO p(99) < 1s of checkout failed: observed 2 s"])

    assert said(root) == {
        "run": "failure",
        "the load generator measured correctly": "passed",
        "the data are complete": "passed",
        "p(95) < 300ms of checkout": "passed",
        "p(99) < 1s of checkout": "failure",
        "x of checkout": "skipped",
    }
    (suite,) = root
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "6",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
        "time": "20.000",
    }
    failure = next(case for case in root.iter("testcase") if case.get("name") == "p(99) < 1s of checkout").find(
        "failure"
    )
    assert failure is not None
    assert "observed 44.2 ms (4,000 due)" in str(failure.get("message"))


def test_objectives_of_an_invalid_run_are_no_reasons_of_its_failure() -> None:
    busy, slo = (
        "this machine is busy: it woke up to 21.0 ms late",
        "SLO p(95) < 300ms of checkout failed: observed 351 ms",
    )
    validity = {"verdict": "invalid", "reasons": [busy]}
    failure = xml_of(result="invalid", exit_code=4, reasons=[busy, slo], validity=validity).find(".//failure")
    assert failure is not None
    assert failure.text == busy


def test_unfit_generators_lost_agents_and_errors_are_cases_that_fail() -> None:
    assert said(xml_of(result="error", exit_code=5, reasons=["no agent came"]))["run"] == "error"
    unfit = xml_of(result="invalid", exit_code=4, validity={"verdict": "invalid", "reasons": ["lag"]})
    assert said(unfit)["the load generator measured correctly"] == "failure"
    assert said(xml_of(validity={"verdict": "suspect"}))["the load generator measured correctly"] == "skipped"
    lost = xml_of(result="incomplete", exit_code=3, agents=[{"id": "eu", "region": "eu", "complete": False}])
    assert said(lost)["the data are complete"] == "failure"


@settings(max_examples=examples(100), deadline=None)
@given(st.text(), st.sampled_from(["passed", "failed", "incomplete", "invalid", "interrupted", "error"]))
def test_any_name_is_parsed_and_a_run_that_did_not_pass_is_never_green(name: str, result: str) -> None:
    code = 0 if result == "passed" else 1
    root = xml_of(
        scenario=name, reasons=[name], slos=[P95 | {"objective": name, "journey": name}], result=result, exit_code=code
    )

    kinds = list(said(root).values())
    assert ("failure" in kinds or "error" in kinds) == bool(code)
    (suite,) = root
    assert int(str(suite.get("tests"))) == len(list(root.iter("testcase"))) == 4


def test_names_with_markup_come_out_as_they_are_and_control_characters_as_their_codes() -> None:
    root = xml_of(slos=[P95 | {"objective": HOSTILE}])
    names = [str(case.get("name")) for case in root.iter("testcase")]
    assert "</testcase>\"'&|`@team\\nnew line\\x00\\x1b[31m\\ud800 🚀 of checkout" in names


# -- Markdown ---------------------------------------------------------------------------------------


def markdown_of(**changes: Any) -> str:
    found = read(summary(**changes))
    return markdown(found, story_of(found))


def test_comment_has_verdict_objectives_and_what_it_means_first() -> None:
    text = markdown_of(slos=[P95])

    head, *_ = text.splitlines()
    assert head.startswith("### ✅ PASSED (exit code 0): 1 of 1 objective met")
    assert "| p(95) &lt; 300ms | passed | 44.2 ms | 41.0 to 47.5 ms | 12 % | 4,000 |" in text
    places = [
        text.index(title) for title in ("| objective", "**What it means**", "**What it does not say**", "<details>")
    ]
    assert places == sorted(places)
    assert text.count("<details>") == text.count("</details>") == 2


def test_every_line_of_a_table_has_as_many_cells_and_names_are_no_markup() -> None:
    text = markdown_of(slos=[P95 | {"objective": HOSTILE}], series=[series("journey", None, None, journey=HOSTILE)])

    widths: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
        elif widths:
            assert len(set(widths)) == 1
            widths = []
    assert "@team" not in text
    assert not re.search(r"(?<!\\)\]\(", text), "a link needs a bracket that is not escaped"
    assert "</testcase>" not in text


def test_comment_of_ten_thousand_names_has_an_end() -> None:
    rows = [series("request", None, f"GET /{n}") for n in range(10_000)]
    text = markdown_of(series=rows)

    assert "9970 more are in summary.json." in text
    assert len(text) < 10_000
