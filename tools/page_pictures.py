"""Take the screenshots of pages for the docs: `python -m tools.page_pictures` writes docs/img/page-*.png,
model-report*.png, sweep-page.png, weekly-page*.png and launch-page.png.

They show an invented run (tests/support/documents.py), the model of an invented log (tests/support/made_logs.py), a
simulated sweep (tests/support/simulated_sweep.py), the week of an invented programme (tests/support/made_programme.py)
and an invented launch (tests/support/made_launch_page.py). All are always the same, so a picture changes only with its
page.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser

from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import standings
from loadgen.history.store.stored_run import Reference
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.load_tests.said import load_tests_of
from loadgen.programme.pages.launch_html import launch_html
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.pulling.source_settings import read_sources
from loadgen.programme.recommending.programme_file import read_programme
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.from_others import from_others
from loadgen.programme.weekly.gather import gather
from loadgen.programme.weekly.programme_table import PageSettings
from loadgen.programme.weekly.week_of import week_of
from loadgen.report.html import html, write_html
from loadgen.studies.page import as_page
from loadgen.sweep.result import result_of
from loadgen.sweep.study import study_of
from loadgen.traffic.model_page.page import model_page
from tests.support.accepted import accepted, history
from tests.support.browser import chromium
from tests.support.documents import document
from tests.support.made_launch_page import made_launch
from tests.support.made_logs import SHOP_KINDS, lines_of_kinds, written_log
from tests.support.made_models import facts_of
from tests.support.made_programme import made_programme, objectives
from tests.support.simulated_sweep import Law, plan_of, records_of, two_pools
from tools.small_png import write_small_png

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
        take_programme(browser, Path(scratch))
    return 0


def take_programme(browser: Browser, scratch: Path) -> None:
    """Save screenshots of the weekly page, on a screen, on A4 and on a telephone, and of a launch page."""
    made = made_programme(scratch / "programme")
    place = place_of(str(made.store))
    gathered = gather(
        place,
        objectives(),
        week_of("2026-W30", ZoneInfo("UTC")),
        datetime(2026, 7, 27, 6, tzinfo=UTC),
        PageSettings("Shop · performance", "UTC"),
        read_programme(made.programme),
        load_tests=load_tests_of(objectives(), read_sources(made.programme), ()),
    )
    week, launch = scratch / "week.html", scratch / "launch.html"
    week.write_bytes(weekly_html(build_page(gathered, from_others(place, gathered, {}))))
    launch.write_bytes(launch_html(made_launch()))
    take_static(browser, week, "weekly-page", (1300, 900))
    take_static(browser, week, "weekly-page-phone", (400, 900))
    # A4, landscape, with its margins: 297 mm by 210 mm at 96 pixels an inch.
    take_static(browser, week, "weekly-page-a4", (1123, 794), media="print")
    take_static(browser, launch, "launch-page", (1100, 1000))


def take_static(
    browser: Browser, file: Path, name: str, size: tuple[int, int], *, media: Literal["print", "screen"] = "screen"
) -> None:
    """Save a screenshot of the first screen of a page without scripts, or of its first sheet of paper."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light", bypass_csp=True)
    page.emulate_media(media=media)
    page.goto(file.as_uri())
    if media == "print":
        page.add_style_tag(content="main { padding: 7mm 10mm !important } .second { display: none !important }")
    write_small_png(browser, page.screenshot(), PICTURES / f"{name}.png")
    page.close()


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
