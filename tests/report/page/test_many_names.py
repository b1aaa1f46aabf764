"""A run of 10,000 request names, from the log to the browser: what is drawn is bounded, and nothing is lost in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.charts.series_to_chart_lines import ROWS
from loadgen.report.from_run_folder import document_of
from loadgen.report.html import write_html
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_MS
from loadgen.wire import codec
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.deltas import FakeAgent, request_key
from tests.support.documents import Document
from tests.support.page_server import PageServer
from tests.support.past_runs import past_run

pytestmark = needs_chromium

NAMES, STEPS = 10_000, 20
CALLS = 2 * NAMES
"""In three seconds, n ms the n-th of each."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """An agent that knows 500 names in each of 20 steps, as its recorder would; from the folder, as a report has it."""
    shares = {"agents": ["a1", "a2", "a3"], "regions": ["eu", "us", "eu"], "weights": [1, 1, 1]}
    path = past_run(tmp_path_factory.mktemp("many"), seconds=1, is_sealed=False, assignment=shares)
    agent, folder = FakeAgent("a3"), RunDir.open(path, writable=True)
    keys = [request_key(f"GET /item/{n}", step=f"page {n // (NAMES // STEPS)}") for n in range(NAMES)]
    for second in range(2):
        folder.append(
            codec.encode(agent.delta({key: [(n % 97 + 1) * NS_PER_MS] for n, key in enumerate(keys)}, k=second))
        )
    folder.sync()
    folder.close()
    return document_of(open_run(path))


def counts(page: Page) -> dict[str, int]:
    """Requests by name, as they stand in the table."""
    rows = page.locator("#rows tbody tr.request")
    names, numbers = rows.locator("th.name").all_inner_texts(), rows.locator("td:nth-child(3)").all_inner_texts()
    return {name: int(number.replace(",", "")) for name, number in zip(names, numbers, strict=True)}


def try_table(page: Page) -> None:
    """Bounded, exact, sorted by a click, narrowed by a word."""
    found = counts(page)
    assert len(found) <= ROWS + STEPS
    assert sum(found.values()) == CALLS + 40
    assert max(found.values()) > NAMES // STEPS  # an "(other)"

    head = page.locator("#rows thead button", has_text="p95 ms")
    head.click()
    expect(page.locator("#rows th[aria-sort=descending]")).to_have_text("p95 ms")
    figures = [float(text.replace(",", "")) for text in page.locator("#rows tbody td:nth-child(8)").all_inner_texts()]
    assert figures == sorted(figures, reverse=True)
    page.locator("#rows input").fill("(other)")
    assert page.locator("#rows tbody tr").count() >= 1
    page.locator("#rows input").fill("")
    assert counts(page) == found


def test_report_draws_sorts_and_has_no_complaint(browser: Browser, told: Document, tmp_path: Path) -> None:
    write_html(told, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    with Shown.within(browser) as shown:
        try_table(shown.open(tmp_path / "report.html"))
        assert shown.faults == []


def test_live_page_draws_sorts_and_has_no_complaint(browser: Browser, told: Document) -> None:
    with PageServer.serving(told) as server, Shown.within(browser) as shown:
        shown.page.goto(server.run_url)
        shown.page.wait_for_selector("html[data-drawn]", timeout=60_000)
        try_table(shown.page)
        assert [fault for fault in shown.faults if "net::" not in fault] == []
