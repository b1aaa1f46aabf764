"""The web vitals of pages in browsers: in summary.json, at the end of a run, in Markdown, and on the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import CLS_NS, OK
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.exports.markdown import markdown
from loadgen.report.from_run_folder import document_of
from loadgen.report.html import write_html
from loadgen.report.page_tables import page_tables
from loadgen.report.report_tables import final_report
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.summary_reader import Summary, read
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from loadgen_controller.screen.result_explanation import story_in
from loadgen_controller.screen.terminal_report import print_report
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.past_runs import manifest_of, spec_of

RUN_ID = "20261130-120000-shop-0001"
LCP_MS = [100.0 * n for n in range(1, 9)]
"""Of the pages that ended ok: p75 is 600. The first has an interaction of 48 ms, and each a score of 0.25."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 10 s whose pages were made up: 8 ok, and one with an error page that is quick to paint."""
    merge, recorder = Merge(NS_PER_S), Recorder()
    run = RunDir.create(tmp_path_factory.mktemp("runs"), RUN_ID)
    run.write_manifest(manifest_of(RUN_ID, "shop.py", spec_of(10, 10)))
    for k, (ms, outcome) in enumerate([*((ms, OK) for ms in LCP_MS), (5.0, "http 500")]):
        page, api = (recorder.request_series("look", None, name) for name in ("page /", "GET /api"))
        page.phase("lcp", round(ms * NS_PER_MS), outcome)
        page.phase("cls", round(0.25 * CLS_NS), outcome)
        page.phase("ttfb", 20 * NS_PER_MS, outcome)
        api.phase("ttfb", 3 * NS_PER_MS)
        if not k:
            page.phase("inp", 48 * NS_PER_MS)
        for series, of in ((page, outcome), (api, OK)):
            recorder.counters.requests_started += 1
            recorder.request(series, k * NS_PER_S + 1, k * NS_PER_S + 1, k * NS_PER_S + NS_PER_S // 2, of, 0)
        recorder.counters.iterations_due += 1
        recorder.counters.iterations_started += 1
        recorder.iteration(recorder.journey_series("look"), NS_PER_S // 2, NS_PER_S // 2, 0, 0, outcome, False)
        made = recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S, lambda *_: Health(users=1, in_flight=1))
        delta = replace(made, agent="a", epoch=1, run_id=RUN_ID)
        merge.accept("local", delta)
        run.append(codec.encode(delta))
    facts = RunFacts(
        run_id=RUN_ID,
        scenario="shop.py",
        plan="plan",
        placement="embedded",
        started_at=datetime(2026, 11, 30, 12, tzinfo=UTC),
        duration_s=10.5,
        result="passed",
        exit_code=0,
        measured_s=10.0,
        agents=(AgentFacts("a", "local", complete=True),),
    )
    run.seal(build(facts, merge))
    run.sync()
    run.close()
    return run.path


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return read(folder / "summary.json")


def test_pages_have_their_vitals_over_those_that_ended_ok_and_other_requests_have_none(summary: Summary) -> None:
    (row,) = (one for one in summary.series if (one.request, one.outcome, one.region) == ("page /", "*", "*"))
    assert {name: of.count for name, of in row.page_ms.items()} == {"lcp": 8, "inp": 1, "ttfb": 8}
    assert row.page_ms["lcp"].p75 == pytest.approx(600, rel=0.001)
    assert row.cls is not None
    assert row.cls.count == 8
    assert row.cls.p75 == pytest.approx(0.25, rel=0.001)
    assert {one.request for one in summary.series if one.page_ms or one.cls} == {"page /"}


def test_the_terminal_and_the_comment_on_a_pull_request_have_the_table(folder: Path, summary: Summary) -> None:
    (table,) = page_tables(summary)
    assert table.rows == (("page /", "8", "600", "800", "48.0", "1", "0.250", "-", "20.0"),)
    out = StringIO()
    print_report(Console(file=out, width=80), final_report(summary))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "<summary>Pages, ms</summary>" in markdown(summary, story_in(folder, summary))


@needs_chromium
def test_the_page_has_the_table(folder: Path, tmp_path: Path) -> None:
    write_html(document_of(open_run(folder)), tmp_path / "report.html")
    with chromium() as browser, Shown.within(browser) as shown:
        page = shown.open(tmp_path / "report.html")
        (row,) = page.locator("#vitals-rows tbody tr").all()
        cells = row.locator("td").all_inner_texts()
        assert cells == ["look › page /", "8", "600 ms", "800 ms", "48 ms", "1", "0.250", "–", "20 ms"]
        assert [fault for fault in shown.faults if "net::" not in fault] == []
