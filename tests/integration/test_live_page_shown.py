"""The page in a real browser beside a real run: opened late, opened anew in mid-run, used, and there at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.integration.test_live_page import address_of
from tests.integration.test_stopping import end_of
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.run import DATA, ends_with, started
from tests.support.target import running_target

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def history(page: Page) -> dict[str, Any]:
    """What the server has, asked with the page's own token."""
    found: dict[str, Any] = json.loads(
        page.evaluate(
            """async () => {
                const headers = { Authorization: `Bearer ${sessionStorage.getItem("loadgen token")}` };
                return (await fetch(`/api${location.pathname}/history`, { headers })).text();
            }"""
        )
    )
    return found


def reached(page: Page, slots: int) -> None:
    """The page is drawn, and the run has so many slots."""
    page.wait_for_function("() => document.getElementById('page').dataset.seq", timeout=60_000)
    for _ in range(150):
        if history(page)["slots"]["count"] >= slots:
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"not {slots} slots within 30 s")


def test_a_run_is_followed_opened_anew_paused_and_seen_to_its_end(tmp_path: Path, browser: Browser) -> None:
    command = ("run", f"{DATA}/adjusted.py:long", "--duration", "16s", "--ui")
    with (
        running_target() as target,
        started(*command, "--target", target.url, runs_dir=tmp_path) as run,
        Shown.within(browser) as first,
        Shown.within(browser) as late,
    ):
        address = address_of(run)
        first.page.goto(address)
        reached(first.page, 2)
        assert "token" not in first.page.url  # it is out of the address, and still good for a refresh
        late.page.goto(address)
        reached(late.page, 3)
        first.page.reload()
        reached(first.page, 4)
        known = history(first.page)
        assert all(known["slots"]["reported"])
        assert sum(known["slots"]["requests"]) > 0
        first.page.click("#do-pause")
        late.page.wait_for_function("() => document.body.innerText.includes('paused')", timeout=60_000)
        first.page.click("#do-resume")
        for shown in (first, late):
            shown.page.wait_for_function("() => document.body.innerText.includes('the run has ended')", timeout=60_000)
        code, out, summary = end_of(run, tmp_path)
        assert ends_with(code, summary, 0), out
        text = late.page.inner_text("body")
        assert f"{summary['requests']['finished']:,}" in text
        assert summary["result"] in text
        for shown in (first, late):
            assert shown.faults == []
            assert all(url.startswith(address.partition("/runs/")[0]) for url in shown.asked)
