"""Requests to AI models on the page: tables and charts, live and from the disk, wide and on a telephone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.kept_stream_log import KeptOfRun, RunStream
from loadgen.report.charts.kept_streams import kept_of_page
from loadgen.report.charts.timeline_data import History
from loadgen.report.from_run_folder import document_of, verdict_of
from loadgen.report.html import write_html
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import Facts, changes, document, encode
from loadgen.report.run_page_table import Table
from loadgen.report.summary_reader import Level, Summary
from tests.support import documents
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.kept_streams import kept
from tests.support.page_server import PageServer
from tests.support.streams import recorded, stream_run

pytestmark = needs_chromium

CHARTS = ("stream-times", "tokens", "heat-ttft", "heat-itl", "in-flight", "stream-spectrum")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    with Shown.within(browser) as made:
        yield made
        assert [fault for fault in made.faults if "net::" not in fault] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return document_of(open_run(stream_run(tmp_path_factory.mktemp("runs"))))


def opened(shown: Shown, folder: Path, given: dict[str, Any]) -> Page:
    write_html(given, folder / "report.html")
    return shown.open(folder / "report.html")


def stored_summary(folder: Path) -> Summary:
    summary = open_run(stream_run(folder)).summary
    assert summary is not None
    return summary


def cells(page: Page, table: str) -> list[list[str]]:
    rows = page.locator(f"#{table} tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def test_tables_and_charts_of_streams_are_shown(shown: Shown, run: dict[str, object], tmp_path: Path) -> None:
    page = opened(shown, tmp_path, run)

    for name in CHARTS:
        expect(page.locator(f"#{name} canvas").first).to_be_visible()
    ((name, *figures),) = cells(page, "stream-rows")
    assert (name, figures[0], figures[-5:]) == ("ask › chat", "120", ["64", "25 %", "20", "2,400", "200"])
    assert cells(page, "stream-failures") == [
        ["ask › chat", "stream truncated", "8", "8", "24"],
        ["ask › chat", "timeout", "8", "0", "0"],
    ]
    text = page.locator("#streams").inner_text()
    assert "120 of 136 requests ended ok · 7,680 prompt tokens, 25 % of them cached" in text
    assert text.count("docs/llm-conventions.md") == 1


def test_the_times_chart_has_each_metric_that_the_run_has(shown: Shown, run: dict[str, object], tmp_path: Path) -> None:
    page = opened(shown, tmp_path, run)
    options = page.locator("#stream-times option").evaluate_all("(all) => all.map((one) => one.value)")
    before = shown.pictures()

    page.locator("#stream-times select").select_option("itl")

    assert options == ["ttft", "ttft_due", "ttfo", "itl", "icl", "tpot", "stall"]
    assert shown.pictures() != before


def test_a_run_without_requests_to_models_has_no_such_part(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, documents.document(slots=60))

    expect(page.locator("#streams")).to_be_hidden()
    assert page.locator("#streams canvas").count() == 0
    expect(page.locator("#heatmap")).to_be_visible()


LEVELS = [("1", 100.0, 80.0), ("2", 99.0, 159.0), ("4", 90.0, 320.0), ("8", 60.0, 300.0), ("16", 20.0, 310.0)]


@pytest.mark.parametrize("width", [390, 1200])
def test_the_trade_off_of_levels_is_a_chart_with_a_point_for_each(
    browser: Browser, run: dict[str, object], tmp_path: Path, width: int
) -> None:
    levels = tuple(
        Level(level, tokens_per_s_a_user=a_user, output_tokens_per_s=in_all, saturated=level == "16")
        for level, a_user, in_all in LEVELS
    )
    summary = msgspec.structs.replace(stored_summary(tmp_path), levels=levels)
    given: dict[str, Any] = {**run, "verdict": verdict_of(summary)}
    kinds = [(one["is_best"], one["is_saturated"]) for one in given["verdict"]["trade_off"]]
    assert kinds == [(True, False), (True, False), (True, False), (False, False), (False, True)]

    with Shown.within(browser, width=width) as shown:
        page = opened(shown, tmp_path, given)
        chart = page.locator("#trade-off")
        expect(chart.locator("canvas")).to_be_visible()
        assert chart.locator("li .label").all_inner_texts() == ["best levels", "other levels", "saturated"]
        over = chart.locator(".u-over")
        chart.scroll_into_view_if_needed()
        over.hover()  # waits until the page stands still
        box = over.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20, steps=3)
        expect(chart.locator("li .value").first).to_have_text("4 users: 320/s in all, 90/s a user")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.faults == []


SPY = """window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  window.written.push(text);
  return write.call(this, text, ...rest);
};"""


def test_levels_at_one_place_of_the_trade_off_share_a_text(
    browser: Browser, run: dict[str, object], tmp_path: Path
) -> None:
    measured = [("101", 80.0), ("202", 159.0), ("404", 320.0), ("808", 319.0), ("1616", 320.0)]
    levels = tuple(Level(level, tokens_per_s_a_user=100.0, output_tokens_per_s=in_all) for level, in_all in measured)
    summary = msgspec.structs.replace(stored_summary(tmp_path), levels=levels)

    with Shown.within(browser, width=390) as shown:
        shown.page.add_init_script(SPY)
        page = opened(shown, tmp_path, {**run, "verdict": verdict_of(summary)})
        expect(page.locator("#trade-off canvas")).to_be_visible()
        written = page.evaluate("window.written")
        assert shown.faults == []

    assert {"101", "202", "404, 808, 1616"} <= set(written)
    assert not {"404", "808", "1616"} & set(written)


def test_a_run_without_levels_has_no_trade_off(shown: Shown, run: dict[str, object], tmp_path: Path) -> None:
    page = opened(shown, tmp_path, run)

    expect(page.locator("#trade-off")).to_be_hidden()
    assert page.locator("#trade-off canvas").count() == 0


@pytest.mark.parametrize("width", [360, 390, 1400])
def test_no_part_is_wider_than_the_screen(browser: Browser, run: dict[str, object], tmp_path: Path, width: int) -> None:
    with Shown.within(browser, width=width) as shown:
        page = opened(shown, tmp_path, run)

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.locator("#stream-rows td").first).to_be_visible()


HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def with_kept_streams(run: dict[str, object]) -> dict[str, Any]:
    streams = [kept(n, 100 + 10 * n, 20, wait_ns=n * 1_000_000, prompt_tokens=10 * (n + 1)) for n in range(14)]
    streams += [kept(20, 2_000, request=HOSTILE, outcome="stream truncated")]
    return run | {
        "kept_streams": kept_of_page(KeptOfRun(0.1, tuple(RunStream("a1", "eu", one) for one in streams)), of=150)
    }


@pytest.mark.parametrize("width", [390, 1400])
def test_kept_streams_are_a_waterfall_and_a_cloud(
    browser: Browser, run: dict[str, object], tmp_path: Path, width: int
) -> None:
    with Shown.within(browser, width=width) as shown:
        page = opened(shown, tmp_path, with_kept_streams(run))

        lines = page.locator(".waterfall li")
        expect(lines).to_have_count(12)
        assert lines.first.inner_text().startswith("2 s to the first token · 2.02 s to the end · ask › <img src=x")
        assert "\\u202e" in lines.first.inner_text()
        assert page.locator("#waterfall img").count() == 0
        second = lines.nth(1)
        assert "243 ms to the first token from due, 230 ms from the call" in second.inner_text()
        path = second.locator("path.tick:not(.other):not(.begin):not(.end)").get_attribute("d") or ""
        assert path.count("M") == 20, "a tick for each read"
        assert second.locator("rect").count() == 4, "waiting, sending, until the first token, tokens"
        expect(page.locator("#prompt-ttft canvas").first).to_be_visible()
        assert "15 streams of 150 requests were kept" in page.locator(".kept").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.faults == []


def test_without_kept_streams_their_part_is_hidden(shown: Shown, run: dict[str, object], tmp_path: Path) -> None:
    page = opened(shown, tmp_path, run)

    expect(page.locator(".kept")).to_be_hidden()


def test_a_page_that_follows_a_run_shows_the_same_as_one_that_is_opened_at_the_end(shown: Shown) -> None:
    facts = Facts(run=dict(documents.empty()["run"], phase="running"), done={"a1": False, "a2": False})
    merge, history = Merge(), History()
    table = Table(history)
    deltas = recorded(9, failing_from=4)

    def look(some: list[Any]) -> None:
        for region, delta in some:
            merge.accept(region, delta)
        history.look(merge)
        table.look(merge, at_once=None)

    def now() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(encode(document(history, table, facts)))
        return found

    look([])
    early = now()
    look(deltas[:6])
    told = list(changes(history, table, facts, early["seq"]))
    before = history.seq
    look(deltas[6:])
    told += changes(history, table, facts, before)

    page = shown.page
    with PageServer.serving(now()) as server:
        page.goto(server.run_url)
        page.wait_for_selector(f"#page[data-seq='{history.seq}']", timeout=60_000)
        page.wait_for_selector("html[data-drawn]")
        page.wait_for_timeout(300)  # charts that found their width are drawn again
        rows, pictures = cells(page, "stream-rows") + cells(page, "stream-failures"), shown.pictures()

    with PageServer.serving(early) as server:
        page.goto(server.run_url)
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        for kind, change in told:
            server.tell(kind, json.loads(encode(change)))
        expect(page.locator("#stream-rows td").nth(1)).to_have_text("90")
        for _ in range(100):  # the last change is drawn in a later frame
            if shown.pictures() == pictures:
                break
            page.wait_for_timeout(50)
        assert cells(page, "stream-rows") + cells(page, "stream-failures") == rows
        assert shown.pictures() == pictures
