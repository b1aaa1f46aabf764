"""The history as a page: what is on it, that nothing from the store is markup, that a browser has nothing to say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from loadgen.history.gate.aa_test_health import health_of
from loadgen.history.store.stored_run import Event, Reference
from loadgen.history.trend.page import html
from loadgen.history.trend.plot import SMALL, plot
from loadgen.history.trend.trends import TrendSettings, trends
from loadgen.report.charts.round_places import round_places
from tests.support.accepted import KEY, accepted, history
from tests.support.browser import Shown, chromium, needs_chromium

SHARP = '<b onclick="x">&amp;'


def page(name: str = "checkout > pay", label: str = "1.5") -> str:
    old = history(15, {name: 40.0}, sd=0.01, commit="a" * 40)
    new = history(8, {name: 44.0}, sd=0.01, first=15, commit="b" * 40, labels={"release": label})
    runs = [*old, *new]
    runs[4] = replace(runs[4], figures=tuple(replace(one, value_ms=one.value_ms * 1.5) for one in runs[4].figures))
    reference = Reference(label, tuple(run.run_id for run in old[:3]), "2026-11-01T00:00:00Z")
    events = [Event("control", "2026-11-20T00:00:00Z", SHARP, ("one",), details={"outcome": "PASS"})]
    found = trends(runs, TrendSettings(season=7), [(reference, old[:3])])
    return html(KEY, found, health_of(events), made_at="2026-11-26T00:00:00Z").decode()


def test_the_page_has_the_change_its_commits_the_outlier_and_the_reference() -> None:
    text = page()
    assert "aaaaaaaaa..bbbbbbbbb" in text
    assert re.search(r'class="slower">\+(9|10)', text)
    assert text.count('class="outlier"') == 1
    assert "compared with 1.5" in text
    assert "Too few controls to say" in text
    assert text.count('class="run"') == 22


def test_axes_have_round_values_with_their_unit_and_one_day_stands_once() -> None:
    assert round_places(401.2, 463.4) == [420, 440, 460]
    assert round_places(10, 1000) == [250, 500, 750, 1000]
    assert round_places(0.013, 0.015) == [0.013, 0.014, 0.015]

    def texts(*starts: str) -> list[str]:
        runs = [accepted({"checkout": 100.0 + n}, started_at=start) for n, start in enumerate(starts)]
        (one,) = [one for one in trends(runs, TrendSettings("p95")) if one.name == "checkout"]
        return re.findall(r">([^<>]+)</text>", plot(one, size=SMALL))

    assert texts("2026-11-01T09:12:00Z", "2026-11-01T09:30:00Z", "2026-11-01T10:44:00Z")[-2:] == [
        "2026-11-01 09:12",
        "10:44 UTC",
    ]
    assert texts("2026-11-01T09:12:00Z", "2026-11-01T09:30:00Z", "2026-11-02T10:44:00Z")[-2:] == [
        "2026-11-01",
        "2026-11-02",
    ]
    assert "100 ms" in texts(*["2026-11-01T09:12:00Z"] * 3)


def test_what_may_be_chance_has_no_colour() -> None:
    runs = history(15, {"checkout > pay": 40.0}, sd=0.01)
    reference = Reference("1.5", tuple(run.run_id for run in runs[:8]), "2026-11-01T00:00:00Z")
    found = trends(runs, TrendSettings(), [(reference, runs[:8])])
    text = html(KEY, found, health_of([]), made_at="2026-11-26T00:00:00Z").decode()
    assert "compared with 1.5" in text
    assert not re.search(r'class="(slower|faster)"', text)


def test_nothing_out_of_the_store_is_markup_or_script_and_nothing_is_fetched() -> None:
    text = page(name=SHARP, label=SHARP)
    seen = Tags()
    seen.feed(text)
    assert "script" not in seen.names
    assert "b" not in seen.names
    assert not {name for name, _ in seen.attributes if name.startswith("on")}
    assert not [value for name, value in seen.attributes if name in ("src", "href") and value != "data:,"]
    assert "http" not in text.replace("http-equiv", "")


@needs_chromium
def test_a_browser_shows_it_and_has_nothing_to_complain_about(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "history.html"
    file.write_text(page())
    with Shown.within(browser) as shown:
        shown.page.goto(file.as_uri())
        assert shown.page.locator("svg.trend circle.run").count() == 22
        assert shown.page.locator("h1").inner_text() == "History of shop.example:443 at 200/s"
        assert shown.page.evaluate("getComputedStyle(document.querySelector('svg .level')).fill") == "none"
        assert shown.faults == []
        assert shown.asked == [file.as_uri()]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened
