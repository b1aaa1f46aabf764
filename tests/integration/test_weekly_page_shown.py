"""The weekly page and the launch page in a real browser: first screen, telephone, paper. One Chromium for all tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.pages.launch_html import launch_html
from loadgen.programme.pages.pdf import print_pdf
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.recommending.programme_file import read_programme
from loadgen.programme.weekly.as_json import as_document
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import gather
from loadgen.programme.weekly.programme_table import PageSettings
from loadgen.programme.weekly.week_of import week_of
from loadgen.report.report_parts import Table
from loadgen.studies.page import as_page
from loadgen.studies.study import Study
from loadgen_controller import cli
from tests.support.browser import chromium, needs_chromium
from tests.support.made_launch_page import hostile_launch, made_launch
from tests.support.made_programme import MadeProgramme, made_programme, objectives
from tests.support.made_weekly_page import example_page, full_page, hostile_page, public_page
from tests.support.read_first_screen import QUESTIONS, answers

pytestmark = needs_chromium
needs_pdftotext = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext of poppler")
WEEK = ("--week", "2026-W30", "--as-of", "2026-07-27T06:00Z")

PAGES = {
    "example": weekly_html(example_page()),
    "full": weekly_html(full_page()),
    "hostile": weekly_html(hostile_page()),
    "hostile on a sheet": weekly_html(replace(hostile_page(), rows=hostile_page().rows[:12])),
    "public": weekly_html(replace(public_page(), rows=(public_page().rows * 3)[:36])),
    "launch": launch_html(made_launch()),
    "hostile launch": launch_html(hostile_launch()),
}
_FIRST_SCREEN = """() => [...document.querySelectorAll("h1, .sheet p, .sheet tr")]
  .filter((one) => one.getBoundingClientRect().bottom <= innerHeight)
  .map((one) => one.tagName === "TR" ? [...one.cells].map((cell) => cell.innerText).join(" | ") : one.innerText)
  .map((line) => line.replaceAll("\\n", " "))"""
_CUT = """() => [...document.querySelectorAll(".parts")]
  .some((one) => one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.contexts[0].new_page()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeProgramme:
    """The programme of 14 journeys. Its page has 7 sections."""
    return made_programme(tmp_path_factory.mktemp("made"), weeks=9)


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_ten_questions_are_answered_by_the_text_of_the_first_screen(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 1300, "height": 900})
    page.goto(stored(tmp_path, "example"))
    found = dict(zip(QUESTIONS, answers(page.evaluate(_FIRST_SCREEN)), strict=True))
    assert all(found.values()), found
    assert found["How much budget is left for checkout?"] == "-18 %"
    assert found["Whom do I call for checkout?"] == "payments-oncall@shop.example"


def test_no_page_loads_anything_complains_or_scrolls_sideways(page: Page, tmp_path: Path) -> None:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    for name in PAGES:
        page.goto(stored(tmp_path, name))
        for width in (400, 1300):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
    assert faults == []


def test_rows_of_wide_tables_of_a_board_are_cards_on_a_telephone_and_nothing_of_them_is_cut(
    page: Page, tmp_path: Path
) -> None:
    columns = ("journey", "team", "product", "owner", "state", "missing", "requests", "value")
    row = (
        "catalog",
        "browse",
        "-",
        "browse-oncall@shop.example",
        "partly",
        "objective in test, gate",
        "37 %",
        "unknown",
    )
    study = Study("board", "Coverage", "covered 28 %", "not decided", tables=(Table("", columns, (row,) * 3, words=6),))
    (tmp_path / "board.html").write_bytes(as_page(study))
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto((tmp_path / "board.html").as_uri())
    width = "one => one.scrollWidth <= one.clientWidth && one.getBoundingClientRect().right <= 400"
    assert page.eval_on_selector_all(".scroll", f"all => all.every({width})")
    assert page.locator("thead").first.is_hidden()
    page.set_viewport_size({"width": 1300, "height": 900})
    assert page.locator("thead").first.is_visible()
    assert page.eval_on_selector_all(".scroll", "all => all.every(one => one.scrollWidth <= one.clientWidth)")


def test_weekly_pages_of_12_rows_are_one_sheet_of_paper_on_which_nothing_is_cut(page: Page, tmp_path: Path) -> None:
    for name in ("example", "full", "public", "hostile on a sheet", "launch"):
        page.goto(stored(tmp_path, name))
        assert pages_of(page.pdf(prefer_css_page_size=True)) == 1, name
    page.set_viewport_size({"width": 1047, "height": 733})
    page.emulate_media(media="print")
    for name in ("example", "full"):
        page.goto(stored(tmp_path, name))
        assert not page.evaluate(_CUT), name


@needs_pdftotext
def test_each_text_of_a_page_of_14_promises_is_on_one_of_two_sheets(
    made: MadeProgramme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.folder)
    files = ("--pdf", str(tmp_path / "week.pdf"), "-o", str(tmp_path / "week.json"))
    done = CliRunner().invoke(cli.app, ["slo", "report", *WEEK, "--no-record", *files])
    assert done.exit_code == 0, done.output
    assert lost(json.loads((tmp_path / "week.json").read_text()), tmp_path / "week.pdf", items=99) == []
    assert pages_of((tmp_path / "week.pdf").read_bytes()) == 2


@needs_pdftotext
def test_each_text_but_further_items_of_sections_is_on_the_sheet_of_12_promises(
    made: MadeProgramme, tmp_path: Path
) -> None:
    week, now = week_of("2026-W30", ZoneInfo("UTC")), datetime(2026, 7, 27, 6, tzinfo=UTC)
    settings, programme = PageSettings("Shop · performance", "UTC"), read_programme(made.programme)
    whole = build_page(gather(place_of(str(made.store)), objectives(), week, now, settings, programme))
    part = replace(whole, rows=whole.rows[:12])
    assert print_pdf(weekly_html(part), tmp_path / "week.pdf") == ""
    assert lost(as_document(part), tmp_path / "week.pdf", items=1) == []
    assert pages_of((tmp_path / "week.pdf").read_bytes()) == 1


def lost(page: Mapping[str, Any], pdf: Path, *, items: int) -> list[str]:
    """Return the texts of a page that its PDF lacks. items: as many of each section are printed."""
    read = subprocess.run(["pdftotext", "-raw", pdf, "-"], capture_output=True, text=True, check=True)
    paper = "".join(read.stdout.split())
    texts = [one["text"] for one in page["sentences"]]
    texts += [row[name] for row in page["rows"] for name in ("journey", "owner", "promise", "says")]
    texts += [cell["text"] for row in page["rows"] for cell in row["cells"].values()]
    texts += [one["text"] for section in page["sections"] for one in section["items"][:items]]
    texts += [chart["text"] for chart in page["charts"]]
    texts += [line["name"] for line in page["charts"][-1]["lines"]]
    return [text for text in texts if "".join(text.split()) not in paper]


def test_chromium_prints_a_pdf_and_leaves_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(dir="/tmp") as scratch:
        monkeypatch.setattr("tempfile.tempdir", scratch)
        assert print_pdf(PAGES["example"], tmp_path / "week.pdf") == ""
        assert [*Path(scratch).iterdir()] == []
    data = (tmp_path / "week.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert pages_of(data) == 1


def stored(folder: Path, name: str) -> str:
    file = folder / f"{name}.html"
    file.write_bytes(PAGES[name])
    return file.as_uri()
