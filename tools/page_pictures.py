"""Take the screenshots of pages for the docs: `python -m tools.page_pictures` writes docs/img/page-*.png,
model-report*.png and sweep-page.png.

They show an invented run (tests/support/documents.py), the model of an invented log (tests/support/made_logs.py) and a
simulated sweep (tests/support/simulated_sweep.py). All are always the same, so a picture changes only with its page.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser

from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import standings
from loadgen.history.store.stored_run import Reference
from loadgen.report.html import html, write_html
from loadgen.studies.page import as_page
from loadgen.sweep.result import result_of
from loadgen.sweep.study import study_of
from loadgen.traffic.model_page.page import model_page
from tests.support.accepted import accepted, history
from tests.support.browser import chromium
from tests.support.documents import document
from tests.support.made_logs import SHOP_KINDS, lines_of_kinds, written_log
from tests.support.made_models import facts_of
from tests.support.simulated_sweep import Law, plan_of, records_of, two_pools

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "img"
SIZE = (1280, 860)


def main() -> int:
    made = document(
        names=12, regions=3, unfit=(*range(200, 206), 430), silent=tuple(range(400, 410)), censored=(274, 280, 281, 290)
    )
    before = document(names=12, regions=3, base_ms=34, seed=5)
    with TemporaryDirectory() as scratch, chromium() as browser:
        alone, over = Path(scratch) / "alone.html", Path(scratch) / "over.html"
        write_html(made, alone)
        write_html(made, over, baseline=before)
        standing = Path(scratch) / "standing.html"
        standing.write_bytes(html(made, standing=in_history()))
        take(browser, alone, "light", "page-first-screen", 0, "")
        take(browser, standing, "light", "page-history", 0, "standing")
        take(browser, alone, "dark", "page-charts", 1, "heatmap")
        take(browser, alone, "light", "page-table", 1, "rows")
        take(browser, over, "light", "page-baseline", 1, "percentiles")
        take_model(browser, Path(scratch))
        take_sweep(browser, Path(scratch))
    return 0


def take_model(browser: Browser, scratch: Path) -> None:
    """Save screenshots of the report of a model: the graphs of its kinds of sessions."""
    file = scratch / "report.html"
    file.write_text(
        model_page(facts_of(written_log(lines_of_kinds(SHOP_KINDS, 6_000, 1), scratch / "access.log", "alb")))
    )
    page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
    page.goto(file.as_uri())
    page.locator("#kinds").screenshot(path=str(PICTURES / "model-report.png"))
    page.close()


def take_sweep(browser: Browser, scratch: Path) -> None:
    """Save a screenshot of the page of a sweep: two pools that lock each other, without noise from a real machine."""
    plan = plan_of(control_every=4)
    study = study_of(result_of(plan, records_of(plan, Law(two_pools, sd=0.03), 5)), Path("sweeps") / plan.sweep_id)
    file = scratch / "sweep.html"
    file.write_bytes(as_page(study))
    page = browser.new_page(viewport={"width": 1100, "height": 1130}, color_scheme="light")
    page.goto(file.as_uri())
    page.screenshot(path=str(PICTURES / "sweep-page.png"))
    page.close()


def in_history() -> str:
    """Return the history section of a shop whose history has one change of level and whose login is slower now."""
    names = {"checkout": 180.0, "checkout > login": 60.0, "checkout > pay": 90.0, "checkout > pay > POST /pay": 88.0}
    later = names | {"checkout > pay": 97.0, "checkout > pay > POST /pay": 95.0, "checkout": 187.0}
    past = [*history(24, names, sd=0.015), *history(16, later, sd=0.015, first=24, seed=3)]
    run = accepted(later | {"checkout > login": 67.0, "checkout": 194.0}, started_at="2026-11-25T10:15:00Z")
    found = standings(past, run, [(Reference("1.4", ("a",), "2026-11-01T00:00:00Z"), past[:3])])
    assert found is not None
    return section(found, "loadgen gate 20261125-101500-0007")


def take(browser: Browser, file: Path, scheme: str, name: str, pointed: int, part: str) -> None:
    """Save a screenshot of `file` as `name`.

    The page is scrolled to the section `part`. If `pointed` is not 0, the mouse is on the first visible chart.
    """
    width, height = SIZE
    is_dark = scheme == "dark"
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if is_dark else "light")
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    if part:
        page.evaluate("(id) => scrollBy(0, document.getElementById(id).getBoundingClientRect().top - 110)", part)
    if pointed:
        plots = page.locator(".u-over")
        boxes = [box for i in range(plots.count()) if (box := plots.nth(i).bounding_box())]
        box = next(box for box in boxes if box["y"] > 110)
        page.mouse.move(box["x"] + box["width"] * 0.46, box["y"] + box["height"] * 0.4)
        page.wait_for_timeout(100)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"))
    page.close()


if __name__ == "__main__":
    sys.exit(main())
