"""The section "Why slow" in a browser: in its place, with visible bars, also on a phone and with hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, expect

from loadgen.report.html import html
from loadgen.report.why_slow.section import section
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.documents import document
from tests.support.made_causes import made_causes

pytestmark = needs_chromium

SHARP = "<img src=x onerror=alert(1)> & shop"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    """At its end: nothing went wrong, and nothing but the file itself was asked for."""
    with Shown.within(browser) as made:
        yield made
        assert made.faults == []
        assert len(made.asked) == 1


def test_section_follows_the_objectives_and_its_bars_have_a_size(shown: Shown, tmp_path: Path) -> None:
    causes = made_causes(objective=replace(made_causes().objective, name=SHARP))
    file = tmp_path / "report.html"
    file.write_bytes(html(document(slots=50), why_slow=section(causes)))
    page = shown.open(file)
    why = page.locator("#why")
    expect(why.locator(".why-head")).to_contain_text(SHARP)
    expect(why.locator(".causes > li")).to_have_count(2)
    tops = [box["y"] for name in ("summary", "why", "rates") if (box := page.locator(f"#{name}").bounding_box())]
    assert tops == sorted(tops)
    for kind in (".step-more", ".span-open", ".span-waited", ".span-ours"):
        box = why.locator(f"svg {kind}").first.bounding_box()
        assert box is not None
        assert box["width"] > 5
    width = "getComputedStyle(document.querySelector('#why .span-waited')).strokeWidth"
    assert page.evaluate(width) == "14px"


def test_page_is_not_wider_than_a_phone(shown: Shown, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(html(document(slots=50), why_slow=section(made_causes())))
    page = shown.open(file)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
