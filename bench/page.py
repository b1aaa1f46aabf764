"""Measure how long a report page takes to be drawn, and to draw a change."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from playwright.sync_api import Browser

from bench.report import Section, held, spread
from loadgen.report.html import write_html
from tests.support.browser import chromium
from tests.support.documents import Document, document
from tests.support.page_server import PageServer

HOW = """\
Made-up documents of 3,600 s (720 slots of 5 s, 8 regions), headless Chromium of this machine, software rendering. \
From the start of the navigation to a report by `file://`, each time in a new page: *first paint*, until the browser \
has painted the first screen (its first contentful paint); *all drawn*, until everything is and two more frames have \
begun. *a change*: main thread of a live page, for all that is not by slot: brought into its document, and everything \
drawn anew. *written*: `write_html`."""


def measure(*, turns: int = 9) -> Section:
    if shutil.which("chromium") is None:
        raise RuntimeError("chromium not found; install it (Debian: apt-get install chromium)")
    rows, first_ms = [], []
    with TemporaryDirectory() as scratch, chromium() as browser:
        for names in (20, 200):
            made = document(slots=720, length_s=5.0, names=names, regions=8, rate=2_000.0)
            file = Path(scratch) / f"{names}.html"
            began = perf_counter()
            write_html(made, file)
            written_s = perf_counter() - began
            opened = [_first(browser, file) for _ in range(turns)]
            painted, drawn = [one for one, _ in opened], [other for _, other in opened]
            changed = _changes(browser, made, turns)
            first_ms.append(sorted(painted)[len(painted) // 2])
            rows.append(
                [
                    str(names),
                    " / ".join(spread(painted, 0)),
                    " / ".join(spread(drawn, 0)),
                    " / ".join(spread(changed, 0)),
                    f"{written_s:.2f}",
                    f"{file.stat().st_size / 1e3:.0f}",
                ]
            )
    return Section(
        "The page",
        HOW,
        [
            "names",
            "first paint, ms: least / median",
            "all drawn, ms",
            "a change, ms",
            "written, s",
            "report, kB",
        ],
        rows,
        f"Budgets: first paint of 200 names within 1 s: {held(first_ms[-1] <= 1_000)}; below 1 MB with 20 names:"
        f" {held(float(rows[0][-1]) < 1_000)}.",
    )


def _first(browser: Browser, file: Path) -> tuple[float, float]:
    """Return the ms until the first paint, and until all is drawn."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    try:
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn]")
        # After two frames the browser has painted everything.
        drawn = page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() =>"
            " requestAnimationFrame(() => done(performance.now()))))"
        )
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        return float(painted), float(drawn)
    finally:
        page.close()


def _changes(browser: Browser, whole: Document, turns: int) -> list[float]:
    """Return the main thread's ms for each of some changes, as measured by the page itself."""
    by_slot = ("slots", "response", "errors", "heatmap", "format", "seq")
    running = {**whole, "verdict": None, "run": {**whole["run"], "phase": "running"}}
    rest = {key: value for key, value in running.items() if key not in by_slot}
    with PageServer.serving(running) as server:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(server.run_url)
        page.wait_for_selector("html[data-drawn]")
        took = []
        for turn in range(turns):
            server.tell("now", {"seq": 2 + turn, **rest})
            page.wait_for_selector(f"#page[data-seq='{2 + turn}']")
            took.append(float(page.evaluate("performance.getEntriesByName('change')[0].duration")))
        page.close()
    return took
