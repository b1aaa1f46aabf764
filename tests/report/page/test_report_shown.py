"""report.html in a browser, from the disk, as somebody has it who was sent the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import standings
from loadgen.report.html import html, write_html
from loadgen.report.target_side.database_tables import page_databases
from tests.support.accepted import accepted, history
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.documents import HOSTILE, Document, document, empty
from tests.support.made_databases import FACTS, UPDATE

pytestmark = needs_chromium

SECTIONS = (
    *("summary", "tiles", "percentiles", "slos", "rates", "heatmap", "users", "regions", "rows"),
    *("service", "phases", "lag", "cpu", "unfit", "curve", "slowest", "failing", "agents", "marks", "notes"),
)
UNFIT = tuple(range(100, 106))


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


def opened(shown: Shown, folder: Path, given: Document, baseline: Document | None = None) -> Page:
    write_html(given, folder / "report.html", baseline=baseline)
    return shown.open(folder / "report.html")


def names(page: Page) -> list[str]:
    return page.locator("#rows tbody th").all_inner_texts()


def test_every_section_is_there_in_the_order_of_reading(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=200, unfit=UNFIT))

    tops = []
    for name in SECTIONS:
        expect(page.locator(f"#{name}")).to_be_visible()
        tops.append(page.evaluate("(id) => document.getElementById(id).getBoundingClientRect().top", name))
    assert tops == sorted(tops)


def test_on_a_telephone_nothing_is_wider_than_it_and_figures_stand_beside_names(
    browser: Browser, tmp_path: Path
) -> None:
    with Shown.within(browser, width=400) as shown:
        page = opened(shown, tmp_path, document(slots=100, names=12, hostile=True))
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        row = page.locator("#rows tbody tr.request").first
        name, count = row.locator("th.name").bounding_box(), row.locator("td.number").first.bounding_box()
        assert name is not None
        assert count is not None
        assert 130 < name["width"] < 200
        assert count["x"] + count["width"] < 400
        assert shown.faults == []


def test_how_a_run_stands_in_its_history_is_shown_after_the_verdict_and_nothing_of_it_is_script(
    shown: Shown, tmp_path: Path
) -> None:
    sharp = "<img src=x onerror=alert(1)> & pay"
    past = history(20, {"checkout": 100.0, sharp: 40.0}, sd=0.01)
    run = accepted({"checkout": 110.0, sharp: 40.0}, started_at="2026-11-20T12:00:00Z")
    found = standings(past, run)
    assert found is not None
    file = tmp_path / "report.html"
    file.write_bytes(html(document(slots=50), standing=section(found, "loadgen gate last")))
    page = shown.open(file)

    standing = page.locator("#standing")
    assert standing.locator("li").first.inner_text().startswith("p95 of checkout is ")
    assert standing.locator("h3").all_inner_texts() == ["checkout", sharp]
    assert standing.locator("circle.new").count() == 6
    assert page.evaluate("getComputedStyle(document.querySelector('#standing .dots')).strokeLinecap") == "round"
    tops = [box["y"] for name in ("summary", "standing", "rates") if (box := page.locator(f"#{name}").bounding_box())]
    assert tops == sorted(tops)
    standing.locator("summary").click()
    assert standing.locator("tbody tr").count() == 6


def test_objectives_of_an_invalid_run_are_not_shown_as_a_success(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=50)
    given["verdict"]["result"] = "invalid"
    page = opened(shown, tmp_path, given)

    expect(page.locator("#slos")).to_contain_text("not judged")
    expect(page.locator("#slos tbody td.good, #slos tbody td.bad, #tiles .good")).to_have_count(0)


def test_suspect_run_has_a_badge_of_its_own(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=50)
    given["verdict"] |= {"result": "passed", "shown": "suspect"}
    page = opened(shown, tmp_path, given)

    expect(page.locator("#summary .badge.suspect")).to_have_text("● passed, but suspect")
    expect(page.locator("#summary .badge.good")).to_have_count(0)


def test_first_screen_says_verdict_reasons_meaning_limits_and_what_to_do_next(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=50)
    page = opened(shown, tmp_path, given)

    said = page.locator("#summary").inner_text() + page.locator("#details").inner_text()
    verdict = given["verdict"]
    for text in [
        given["run"]["title"],
        given["run"]["owner"],
        verdict["plain"],
        *verdict["means"],
        *verdict["excludes"],
        *verdict["next"],
    ]:
        assert said.count(text) == 1
    for slo in given["slos"]:
        assert slo["objective"] in said
        assert slo["margin"] in said
    assert verdict["reasons"][0] not in said, "the table has it"
    box = page.locator("#front").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900, "title, sentence, figures and the first charts fit a screen"


def test_three_figures_have_count_unit_interval_and_limit(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=50)
    page = opened(shown, tmp_path, given)

    time, rate, errors = page.locator("#tiles .tile").all_inner_texts()
    row = next(row for row in given["rows"] if row["kind"] == "journey")
    requests, failed = sum(given["slots"]["requests"]), sum(given["slots"]["request_errors"])
    assert time.splitlines()[0] == "Response time, p95 of checkout"
    assert f"{row['response_ms']['p95']:.0f} ms" in time
    assert f"{row['count']:,} iterations · 95 % interval 256 ms to 272 ms · limit 300 ms" in time
    assert f"{requests:,} requests in 50 s" in rate
    assert "/s" in rate
    assert f"{failed:,} of {requests:,} requests" in errors


@pytest.mark.parametrize("has_ratio", [False, True])
def test_the_figure_of_errors_has_the_interval_of_an_error_ratio_and_of_no_other_objective(
    shown: Shown, tmp_path: Path, has_ratio: bool
) -> None:
    given = document(slots=50)
    other = {**given["slos"][0], "limit_ms": None, "detail": "99 % of 400 offered were good"}
    goodput = {**other, "objective": 'goodput(ttft="1s") > 95%', "observed": "99 %", "low": "98 %", "high": "100 %"}
    ratio = {**other, "objective": "error_ratio() < 1%", "detail": "", "low": "0.10 %", "high": "0.90 %"}
    given["slos"] = [goodput, ratio] if has_ratio else [goodput]

    errors = opened(shown, tmp_path, given).locator("#tiles .tile").nth(2).inner_text()

    assert ("95 % interval 0.10 % to 0.90 %" in errors) == has_ratio
    assert ("interval" in errors) == has_ratio


def test_limit_of_the_objective_is_a_line_in_the_response_chart(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=50)
    page = opened(shown, tmp_path, given)
    with_limit = page.locator("#percentiles canvas").screenshot()
    expect(page.locator("#percentiles select")).to_have_value("checkout")

    for slo in given["slos"]:
        slo["limit_ms"] = None
    shown.asked.clear()
    page = opened(shown, tmp_path, given)
    page.locator("#percentiles select").select_option("checkout")

    assert page.locator("#percentiles canvas").screenshot() != with_limit


def test_open_connections_are_a_chart_with_a_line_for_each_kind_that_the_run_has(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=20)
    slots: Any = given["slots"]
    slots |= {"http_connections": [40] * 20, "websockets": [0, *range(19)], "tcp_connections": [0] * 20}
    page = opened(shown, tmp_path, given)
    expect(page.locator("#connections")).to_be_visible()
    expect(page.locator("#connections .legend button")).to_have_text([re.compile("HTTP"), re.compile("WebSocket")])


def test_a_run_of_an_older_version_has_no_chart_of_connections(shown: Shown, tmp_path: Path) -> None:
    expect(opened(shown, tmp_path, document(slots=20)).locator("#connections")).to_be_hidden()


def test_run_without_an_error_says_so_instead_of_an_empty_chart(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=30)
    expect(opened(shown, tmp_path, given).locator("#errors .nothing")).to_be_hidden()

    for kind in given["errors"]:
        given["errors"][kind] = [0] * 30
    shown.asked.clear()
    expect(opened(shown, tmp_path, given).locator("#errors .nothing")).to_have_text("no errors")


def test_charts_of_a_short_run_use_their_whole_width(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=6))

    at(page, "throughput", 5.5 / 6)
    expect(page.locator("#cursor")).to_contain_text("0:05–0:06")


def test_verdict_is_the_first_column_and_a_telephone_shows_all_of_an_objective(
    browser: Browser, tmp_path: Path
) -> None:
    with Shown.within(browser, width=400) as shown:
        page = opened(shown, tmp_path, document(slots=30))
        cells = page.locator("#slos tbody td:visible")
        assert cells.first.inner_text() == "✓ pass"
        assert all(
            page.evaluate("[...document.querySelectorAll('#slos td')].map((one) => one.scrollWidth <= one.clientWidth)")
        )
        for cell in cells.all():
            box = cell.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 400
        assert shown.faults == []


def test_metrics_are_lanes_below_the_response_chart_at_the_same_times(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=200, metrics=3)
    given["metrics"]["rest"], given["metrics"]["empty"] = ["queue depth (Maximum)"], ["swap (Average)"]
    page = opened(shown, tmp_path, given)

    lanes = page.locator("#lanes figure")
    assert lanes.locator("h3").all_inner_texts() == ["CPU of the database", "connections", "memory"]
    assert "Average, % · each 5 s; 4 values missing" in lanes.first.inner_text()
    expect(page.locator("#lanes")).to_contain_text("Not drawn: queue depth (Maximum).")
    expect(page.locator("#lanes")).to_contain_text("Without any value: swap (Average).")
    chart, lane = (page.locator(f"{where} .u-over").first.bounding_box() for where in ("#percentiles", "#lanes"))
    assert chart is not None
    assert lane is not None
    assert (chart["x"], chart["width"]) == (lane["x"], lane["width"])
    at(page, "throughput", 100.5 / 200)
    value = given["metrics"]["lanes"][0]["values"][20]
    expect(lanes.first.locator(".legend .value")).to_have_text(f"{value:.1f} %")
    at(page, "throughput", 50.5 / 200)
    expect(lanes.first.locator(".legend .value")).to_have_text("–")


def test_lanes_that_are_not_shown_at_first_can_be_chosen(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=60, metrics=3)
    given["metrics"]["more_lanes"] = [given["metrics"]["lanes"].pop()]
    page = opened(shown, tmp_path, given)
    names_of = page.locator("#lanes figure h3")
    assert names_of.all_inner_texts() == ["CPU of the database", "connections"]

    page.locator("#lane-choice summary").click()
    expect(page.locator("#lane-choice summary")).to_have_text("2 of 3 metrics shown: choose")
    page.locator("#lane-choice label", has_text="memory").click()
    page.locator("#lane-choice label", has_text="CPU").click()

    assert names_of.all_inner_texts() == ["connections", "memory"]
    expect(page.locator("#lane-choice summary")).to_have_text("2 of 3 metrics shown: choose")


def test_marks_of_the_target_are_drawn_as_wide_as_their_times_are_unsure(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=60)
    mark = {"at_s": 20.0, "kind": "target", "text": HOSTILE[0], "source": "shopdb", "error_s": 0.0}
    pictures = []
    for error_s in (0.0, 4.0):
        page = opened(shown, tmp_path, {**given, "marks": [mark | {"error_s": error_s}]})
        pictures.append(shown.pictures())
    del shown.asked[1:]  # the same file was opened twice

    assert pictures[0] != pictures[1]
    assert page.locator("#marks tbody td").all_inner_texts() == ["1", "0:20 ± 4 s", f"shopdb: {HOSTILE[0]}"]


def test_statements_lock_chains_and_sessions_are_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    rude = replace(FACTS.statements[0], text=HOSTILE[1], plan=(HOSTILE[0],))
    facts = replace(FACTS, statements=(rude, *FACTS.statements[1:]))
    given = document(slots=20) | {"databases": msgspec.to_builtins(page_databases([facts]))}
    with Shown.within(browser, width=390) as shown:
        page = opened(shown, tmp_path, given)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("window.hacked") is None
        part = page.locator("#databases")
        assert part.locator("h3").all_inner_texts() == [
            "Statements by added time",
            "Lock chains",
            "Deadlocks",
            "Active sessions by wait event",
        ]
        first = part.locator("tbody tr").first
        expect(first.locator("code")).to_have_text(HOSTILE[1])
        expect(first.locator(".note")).to_have_text(f"plan of its search: {HOSTILE[0]}")
        share = first.locator("td.number").last.bounding_box()
        assert share is not None
        assert share["x"] + share["width"] < 390
        expect(part).to_contain_text("The server forgot 3 statements: their time is unknown.")
        sessions = part.locator(".locks strong")
        assert sessions.all_inner_texts() == ["settle", "payout", "web"]
        lefts = [box["x"] for one in sessions.all() if (box := one.bounding_box()) is not None]
        assert lefts == sorted(set(lefts))
        expect(part.locator(".locks")).to_contain_text(f"before: {UPDATE}")
        assert shown.faults == []


def test_without_databases_there_is_no_section(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=10))

    expect(page.locator("#databases")).to_be_hidden()
    expect(page.locator("#lane-choice")).to_be_hidden()


def test_hostile_names_of_metrics_are_shown_as_text(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=20, metrics=8, hostile=True))

    assert page.evaluate("window.hacked") is None
    assert HOSTILE[0] in page.locator("#lanes h3").all_inner_texts()


def test_hostile_names_are_shown_as_text_and_hidden_characters_as_codes(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=40, hostile=True, names=8))

    assert page.evaluate("window.hacked") is None
    told = page.evaluate("document.getElementById('rows').textContent")
    for name in HOSTILE:
        assert name.replace("\u2028", r"\u2028").replace("\u202e", r"\u202e") in told
    assert "\u202e" not in page.locator("body").inner_text() + page.title()
    assert page.locator("main img, main script").count() == 0


def test_run_without_any_data_is_drawn(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, empty())

    expect(page.locator("#summary .plain")).to_contain_text("0 requests")
    expect(page.locator("#capacity")).to_be_hidden()
    expect(page.locator("#regions")).to_be_hidden()


def test_rows_are_sorted_by_mouse_and_by_keyboard(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=30, names=12))
    as_given = names(page)
    head = page.locator("#rows thead th", has_text="p95 ms")

    head.locator("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    slowest_first = names(page)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")

    assert sorted(slowest_first) == sorted(as_given)
    assert slowest_first != as_given
    figures = [float(text.replace(",", "")) for text in page.locator("#rows tbody td:nth-child(8)").all_inner_texts()]
    assert figures == sorted(figures)


def test_filter_narrows_the_rows_and_says_how_many_there_are(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=30, names=12))

    page.locator("#rows input").fill("BROWSE 003")

    assert names(page) == ["browse › browse › GET /products/{sku}/003"]
    expect(page.locator("#rows .note")).to_have_text("1 of 16 rows")


def test_cursor_on_one_chart_reads_all(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=200, unfit=UNFIT, silent=(150,))
    page = opened(shown, tmp_path, given)

    at(page, "rates", 103.5 / 200)

    expect(page.locator("#cursor")).to_contain_text("1:43–1:44")
    expect(page.locator("#cursor")).to_contain_text("4 of 4 agents reported")
    expect(page.locator("#cursor")).to_contain_text("generator invalid: agent region-0.0: loop lag p99 18 ms")
    of_journey = given["response"]["iterations"]["checkout"]
    expect(page.locator("#percentiles .legend")).to_contain_text(f"p50{of_journey['p50'][103]:.0f} ms")
    count = of_journey["count"][103]
    expect(page.locator("#percentiles .note")).to_contain_text(f"{count} values in 1:43–1:44")

    at(page, "users", 150.5 / 200)
    expect(page.locator("#cursor")).to_contain_text("3 of 4 agents reported")


def test_heatmap_tells_slot_range_and_count_under_the_cursor(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=200)
    page = opened(shown, tmp_path, given)

    at(page, "heatmap", 160.5 / 200, 0.6)

    told = page.locator("#heatmap .note")
    expect(told).to_contain_text("2:40–2:41, ")
    expect(told).to_contain_text(" ms: ")
    cells = given["heatmap"]["slots"][160]
    expect(told).to_contain_text(f"of {sum(cells[1::2])} requests")


def test_drag_zooms_all_charts_and_double_click_shows_all_again(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=600))
    before = shown.pictures()

    box = plot(page, "rates")
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
    page.mouse.up()
    away(page)
    expect(page.locator("#cursor")).to_contain_text("Zoomed")
    within = shown.pictures()
    page.mouse.dblclick(box["x"] + 50, box["y"] + 50)
    away(page)
    expect(page.locator("#cursor")).not_to_contain_text("Zoomed")

    over_time = page.evaluate(
        "[...document.querySelectorAll('canvas')].map((one) => !one.closest('#spectrum, #curve, .key'))"
    )
    assert [one != other for one, other in zip(before, within, strict=True)] == over_time
    assert shown.pictures() == before


def test_keyboard_moves_the_cursor_zooms_and_shows_all_again(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=600))
    page.locator("#percentiles .plot").focus()

    page.keyboard.press("Home")
    expect(page.locator("#cursor")).to_contain_text("0:00–0:01")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor")).to_contain_text("0:09–0:10")
    expect(page.locator("#voice")).to_contain_text("Response time: p50")
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor")).to_contain_text("0:10–0:11")
    page.keyboard.press("Escape")
    away(page)
    page.locator("#percentiles .plot").press("End")
    expect(page.locator("#cursor")).to_contain_text("9:59–10:00")


def test_theme_is_switched_and_drawn_anew(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=60))
    light = shown.pictures()
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    page.locator("#theme").focus()
    page.keyboard.press("Space")

    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != paper
    assert all(one != other for one, other in zip(light, shown.pictures(), strict=True))
    page.locator("#theme").click()
    assert shown.pictures() == light


def test_line_is_hidden_by_its_legend(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=60))
    before = shown.pictures()

    page.locator("#percentiles .legend button", has_text="p99.9").click()
    expect(page.locator("#percentiles .legend button", has_text="p99.9")).to_have_attribute("aria-pressed", "false")

    assert sum(one != other for one, other in zip(before, shown.pictures(), strict=True)) == 1


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"unfit": UNFIT}, "generator invalid: 6 s"),
        ({"silent": (20, 21)}, "not all agents reported: 2 s"),
    ],
)
def test_what_weakens_the_figures_is_on_every_chart_over_time(
    shown: Shown, tmp_path: Path, more: dict[str, Any], key: str
) -> None:
    given = document(slots=200)
    opened(shown, tmp_path, given)
    plain = shown.pictures()
    # Only the ground is another: the figures themselves stay.
    weaker = document(slots=200, **more)
    given["slots"]["unfit"] = weaker["slots"]["unfit"]
    given["slots"]["reported"] = weaker["slots"]["reported"]

    shown.asked.clear()
    page = opened(shown, tmp_path, given)

    over_time = page.evaluate(
        "[...document.querySelectorAll('canvas')].map((one) => !one.closest('#spectrum, #curve, .key'))"
    )
    assert [one != other for one, other in zip(plain, shown.pictures(), strict=True)] == over_time
    expect(page.locator("#ground")).to_contain_text(key)


def test_value_of_which_only_a_bound_is_known_is_said_and_never_drawn_as_a_value(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=100, censored=(50,))
    page = opened(shown, tmp_path, given)

    expect(page.locator("#percentiles .note")).to_contain_text("for 1 s only a lower bound is known")
    at(page, "rates", 50.5 / 100)
    expect(page.locator("#percentiles .legend")).to_contain_text("p99> ")


def test_traces_are_linked_by_the_template_and_only_to_the_web(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=20)
    page = opened(shown, tmp_path, given)
    first = given["exemplars"]["slowest"][0]["trace_id"]
    link = page.locator("#slowest a").first
    assert link.get_attribute("href") == f"https://tracing.example/trace/{first}"
    assert link.get_attribute("rel") == "noopener noreferrer"

    given["exemplars"]["slowest"][0]["trace_is_kept"] = False
    given["exemplars"]["slowest"][1]["trace_is_kept"] = True
    page = opened(shown, tmp_path, given)
    links = page.locator("#slowest a")
    assert links.count() == len(given["exemplars"]["slowest"]) - 1
    assert given["exemplars"]["slowest"][1]["trace_id"] in str(links.first.get_attribute("href"))
    expect(page.locator("#slowest")).to_contain_text(first)

    given["trace_url"] = "javascript:alert('{trace_id}')"
    shown.asked.clear()
    page = opened(shown, tmp_path, given)
    assert page.locator("#slowest a").count() == 0
    expect(page.locator("#slowest")).to_contain_text(first)


def test_overlay_has_both_figures_and_the_difference(shown: Shown, tmp_path: Path) -> None:
    ours = document(slots=300, base_ms=50, seed=2)
    theirs = document(slots=100, length_s=2.0, base_ms=40, seed=1)

    page = opened(shown, tmp_path, ours, theirs)

    expect(page.locator("#percentiles .legend")).to_contain_text("baseline p99")
    expect(page.locator("#rates .legend")).to_contain_text("baseline started")
    expect(page.locator("#spectrum .legend")).to_contain_text("baseline requests")
    expect(page.locator("#details")).to_contain_text(theirs["run"]["id"])
    first = page.locator("#rows tbody tr").first
    assert "+25.0 %" in first.inner_text().replace("\u00a0", " ")
    at(page, "rates", 41.5 / 300)
    p50 = theirs["response"]["iterations"]["checkout"]["p50"][20]
    expect(page.locator("#percentiles .legend")).to_contain_text(f"baseline p50{p50:.0f} ms")


def test_page_fits_800_pixels(browser: Browser, tmp_path: Path) -> None:
    with Shown.within(browser, width=800) as narrow:
        page = opened(narrow, tmp_path, document(slots=60, hostile=True, names=8))

        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert narrow.faults == []


def test_print_has_no_controls_is_light_and_fits_the_paper(browser: Browser, tmp_path: Path) -> None:
    with Shown.within(browser, width=800) as paper:
        page = opened(paper, tmp_path, document(slots=60))
        page.locator("#theme").click()
        dark = paper.pictures()

        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")

        expect(page.locator("#theme")).to_be_hidden()
        expect(page.locator("#summary h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert all(one != other for one, other in zip(dark, paper.pictures(), strict=True))
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert paper.faults == []


def test_every_control_can_be_reached_and_has_a_name(shown: Shown, tmp_path: Path) -> None:
    page = opened(shown, tmp_path, document(slots=30))

    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, select, [tabindex='0']")]
           .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim())).length"""
    )
    assert nameless == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"


def plot(page: Page, chart: str) -> dict[str, float]:
    page.locator(f"#{chart}").scroll_into_view_if_needed()
    box = page.locator(f"#{chart} .u-over").bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def at(page: Page, chart: str, share: float, down: float = 0.5) -> None:
    """Put the mouse at a share of the chart's width."""
    box = plot(page, chart)
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * down)


def away(page: Page) -> None:
    page.mouse.move(2, 2)


def test_the_table_of_levels_is_shown_with_its_knee(shown: Shown, tmp_path: Path) -> None:
    given = document(slots=20)
    table = {
        "title": "Levels: response",
        "columns": ["users", "ok"],
        "rows": [["1", "60"], ["<b>", "9"]],
        "notes": ["Knee: 4."],
    }
    given["verdict"]["levels"] = [table]

    page = opened(shown, tmp_path, given)

    levels = page.locator("section.levels")
    expect(levels.locator("h2")).to_have_text("Levels: response")
    assert levels.locator("td").all_inner_texts() == ["1", "60", "<b>", "9"]
    expect(levels.locator("li")).to_have_text("Knee: 4.")


def test_a_wide_table_of_levels_scrolls_and_does_not_widen_the_page(browser: Browser, tmp_path: Path) -> None:
    given = document(slots=20)
    columns = ["users", *(f"figure {k}" for k in range(12))]
    given["verdict"]["levels"] = [{"title": "Levels", "columns": columns, "rows": [["1"] * 13], "notes": []}]

    with Shown.within(browser, width=390) as telephone:
        page = opened(telephone, tmp_path, given)

        expect(page.locator("section.levels th").last).to_have_text("figure 11")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
