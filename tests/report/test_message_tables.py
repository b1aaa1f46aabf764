"""The table of messages (gRPC): at the end of a run, in Markdown, and on the page."""

from __future__ import annotations

from io import StringIO
from math import ceil
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from loadgen.measure.results.message_figures import MESSAGE_TIMES
from loadgen.report.exports.markdown import markdown
from loadgen.report.from_run_folder import document_of
from loadgen.report.html import write_html
from loadgen.report.message_tables import message_tables
from loadgen.report.report_parts import milliseconds
from loadgen.report.report_tables import final_report
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.summary_reader import PhaseFigures, Summary, read
from loadgen_controller.screen.result_explanation import story_in
from loadgen_controller.screen.terminal_report import print_report
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.message_run import AGES_MS, ANSWERS_MS, FIRST_MS, GAPS_MS, WATCH, message_run
from tests.support.past_runs import AGENTS

CALLS = len(AGENTS) * len(FIRST_MS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return message_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return read(folder / "summary.json")


def ranked(values: list[float], *percentiles: int) -> list[str]:
    """Percentiles by their definition, from the values themselves."""
    ordered = sorted(values)
    return [milliseconds(ordered[ceil(q / 100 * len(ordered)) - 1]) for q in percentiles]


def test_each_call_with_messages_has_its_times_with_counts(summary: Summary) -> None:
    (table,) = message_tables(summary)
    assert table.title == "Messages, ms"
    assert table.rows == (
        (WATCH, "first message", f"{CALLS}", *ranked(FIRST_MS, 50, 95, 99, 100)),
        ("", "gap", f"{CALLS * 4}", *ranked(GAPS_MS, 50, 95, 99, 100)),
        ("", "answer", f"{CALLS}", *ranked(ANSWERS_MS, 50, 95, 99, 100)),
        ("", "messages", f"{CALLS * 5}", "-", "-", "-", "-"),
    )


def test_ages_stand_beside_the_statement_that_their_error_is_unknown(tmp_path: Path, summary: Summary) -> None:
    (table,) = message_tables(read(message_run(tmp_path / "runs", has_stamps=True) / "summary.json"))
    assert table.rows[3][:4] == ("", "age", f"{CALLS * len(AGES_MS)}", "0.00")
    assert "ages have no error bound, unless target and agent share a machine" in table.note
    assert (
        f"{CALLS} messages have a stamp later than the arrival, so the clocks of target and agent differ" in table.note
    )
    (without,) = message_tables(summary)
    assert "age: from the time" not in without.note


def test_the_ages_of_messages_have_a_line_and_a_meaning_if_there_are_any(summary: Summary) -> None:
    (without,) = message_tables(summary)
    aged = replace(
        summary.series[0], region="*", outcome="*", tags={}, message_ms={"message_age": PhaseFigures(count=3, p50=7.0)}
    )
    (table,) = message_tables(replace(summary, series=[aged]))
    assert [row[1:4] for row in table.rows] == [("age", "3", milliseconds(7.0)), ("messages", "0", "-")]
    assert "age: from the time that the target wrote" in table.note
    assert "answer:" not in table.note
    assert "; age:" not in without.note


def test_only_rows_over_all_outcomes_have_them(summary: Summary) -> None:
    found = {(one.request, one.outcome, one.region) for one in summary.series if one.message_ms}
    assert {(request, outcome) for request, outcome, _ in found} == {(WATCH, "*")}
    assert len(found) == 1 + len(set(AGENTS.values()))
    assert MESSAGE_TIMES == ("first_message", "message_gap", "answer", "message_age")


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_the_table(summary: Summary, width: int) -> None:
    out = StringIO()
    print_report(Console(file=out, width=width), final_report(summary))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.split()[:4] == ["gap", f"{CALLS * 4}", "11.0", "13.0"] for line in lines)


def test_the_comment_on_a_pull_request_has_the_table(folder: Path, summary: Summary) -> None:
    text = markdown(summary, story_in(folder, summary))
    assert "<summary>Messages, ms</summary>" in text
    assert f"| {WATCH} | first message | {CALLS} |" in text


@needs_chromium
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_has_the_table(folder: Path, tmp_path: Path, width: int) -> None:
    write_html(document_of(open_run(folder)), tmp_path / "report.html")
    aged = document_of(open_run(message_run(tmp_path / "runs", has_stamps=True)))
    write_html(aged, tmp_path / "aged.html")
    with chromium() as browser, Shown.within(browser) as shown:
        page = shown.open(tmp_path / "aged.html")
        assert page.locator("#message-rows tbody tr").nth(3).locator("td").nth(1).inner_text() == "age"
        assert page.get_by_text("ages have no error bound").is_visible()
        page = shown.open(tmp_path / "report.html")
        page.set_viewport_size({"width": width, "height": 900})
        rows = page.locator("#message-rows tbody tr").all()
        cells = [row.locator("td").all_inner_texts() for row in rows]
        assert [cell[1:3] for cell in cells] == [
            ["first message", f"{CALLS}"], ["gap", f"{CALLS * 4}"], ["answer", f"{CALLS}"], ["messages", f"{CALLS * 5}"]
        ]  # fmt: skip
        assert cells[0][0] == f"shop › {WATCH}"
        assert cells[1][4:] == ["11 ms", "13 ms", "13 ms", "13 ms"]
        assert not page.get_by_text("ages have no error bound").is_visible()
        assert page.locator("#messages h2").text_content() == "Messages of calls"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        name = rows[0].locator("td").first.bounding_box()
        assert name is not None
        assert name["width"] < width / 2  # so that figures are beside it, also on a telephone
        assert [fault for fault in shown.faults if "net::" not in fault] == []
