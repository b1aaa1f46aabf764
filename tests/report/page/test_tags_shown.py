"""Tags on the page: below their row, bounded, and never wider than the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from loadgen.measure.deltas.series_key import UNTAGGED, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.summary import RunFacts, build
from loadgen.report.charts.timeline_data import History
from loadgen.report.html import write_html
from loadgen.report.run_page_table import MOST_LINES, MOST_VALUES, Table
from loadgen.units import NS_PER_MS
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.documents import Document, document

FACTS = RunFacts("run", "shop.py", "plan", "fleet", datetime(2026, 1, 1, tzinfo=UTC), 3.0, "passed", 0)
JOURNEY = journey_key()


def keyed(key: SeriesKey, **tags: str) -> SeriesKey:
    return replace(key, tags=tuple(tags.items()))


def merged(values: dict[SeriesKey, list[int]]) -> Merge:
    merge = Merge()
    merge.accept("eu", FakeAgent("a").delta(values))
    return merge


def rows_of(merge: Merge, looks: int | None = None) -> list[dict[str, Any]]:
    """The rows of the table: at once, or after some looks of a run that goes on."""
    history = History()
    table = Table(history)
    history.look(merge)
    for _ in range(looks or 1):
        table.look(merge, at_once=None if looks is None else 20)
    rows: Any = table.as_json()["rows"]
    return list(rows)


SOME = {
    keyed(request_key(), tenant="gold", kind="first"): [10 * NS_PER_MS] * 4,
    keyed(request_key(), tenant="gold"): [20 * NS_PER_MS] * 3,
    keyed(request_key(outcome="http 503"), tenant="free"): [30 * NS_PER_MS] * 2,
    request_key(): [40 * NS_PER_MS],
    JOURNEY: [50 * NS_PER_MS] * 2,
}


@pytest.mark.parametrize("looks", [None, 3])
def test_lines_of_a_tag_add_up_to_their_row_and_are_those_of_the_summary(looks: int | None) -> None:
    merge = merged(SOME)
    by_kind = {row["kind"]: row for row in rows_of(merge, looks)}
    assert "tags" not in by_kind["journey"]
    lines = by_kind["request"]["tags"]
    assert [(one["tag"], one["value"], one["count"], one["errors"]) for one in lines] == [
        ("tenant", "gold", 7, 0),
        ("tenant", "free", 2, 2),
        ("tenant", UNTAGGED, 1, 0),
        ("kind", "first", 4, 0),
        ("kind", UNTAGGED, 6, 2),
    ]
    summary: Any = build(FACTS, merge)["tagged"]
    assert [(one["tag"], one["value"], one["response_ms"]) for one in lines] == [
        (tag, value, one["response_ms"]) for one in summary for tag, value in one["tags"].items()
    ]


def test_lines_are_bounded_and_the_same_in_each_look() -> None:
    values = {
        keyed(request_key(f"GET /{n}"), n=f"{of:02}"): [NS_PER_MS] * (30 - of) for n in range(60) for of in range(30)
    }
    merge = merged(values)
    first, again = (rows_of(merge, looks) for looks in (60, 150))
    lines = [[(one["value"], one["count"]) for one in row.get("tags", ())] for row in first]
    assert sum(map(len, lines)) == MOST_LINES
    assert max(map(len, lines)) == MOST_VALUES
    assert first == again
    assert first[0]["tags"][0]["value"] == "00"
    assert first[0]["more_tags"] == {"n": 20}


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


LONG = "a-value-of-a-tag-without-any-place-to-break-it-" * 2


def with_tags(values: int = 3) -> Document:
    given = document(slots=60)
    merge = merged({keyed(request_key(), tenant=f"{LONG}{n}", kind="a b"): [NS_PER_MS] for n in range(values)} | SOME)
    (own,) = (row for row in rows_of(merge) if row["kind"] == "request")
    request = next(row for row in given["rows"] if row["kind"] == "request")
    request |= {"tags": own["tags"], "more_tags": own["more_tags"]}
    return given


def opened(shown: Shown, folder: Path, given: Document) -> Page:
    write_html(given, folder / "report.html")
    return shown.open(folder / "report.html")


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_many_tags_are_closed_at_first_and_a_button_opens_them_below_their_row(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    with Shown.within(browser, width=width) as shown:
        page = opened(shown, tmp_path, with_tags(30))
        lines = page.locator("#rows tbody tr.tag")
        expect(lines).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        toggle = page.locator("#rows tr.request .toggle")
        expect(toggle).to_have_text("▸ 2 tags")
        toggle.focus()
        page.keyboard.press("Enter")
        expect(toggle).to_have_attribute("aria-expanded", "true")
        expect(toggle).to_be_focused()
        expect(lines).not_to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        texts = page.locator("#rows tbody tr.tag th").all_inner_texts()
        assert texts[0].startswith("tenant: gold")
        assert "tenant: 22 more values" in texts
        above = page.locator("#rows tbody tr.tag").first.locator("xpath=preceding-sibling::tr[1]")
        expect(above).to_have_class("request")
        page.keyboard.press("Enter")
        expect(lines).to_have_count(0)
        assert shown.faults == []


@needs_chromium
def test_few_tags_are_open_and_the_filter_finds_their_values(browser: Browser, tmp_path: Path) -> None:
    with Shown.within(browser) as shown:
        page = opened(shown, tmp_path, with_tags(0))
        expect(page.locator("#rows tbody tr.tag")).to_have_count(5)
        page.locator("#rows input").fill("tenant: gold")
        expect(page.locator("#rows tbody tr:not(.tag)")).to_have_count(1)
        page.locator("#rows thead th", has_text="p95 ms").locator("button").click()
        expect(page.locator("#rows tbody tr.tag")).to_have_count(5)
        assert shown.faults == []
