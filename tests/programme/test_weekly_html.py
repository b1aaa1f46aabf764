"""Weekly pages as HTML: nothing is loaded, texts are texts, each evidence id leads to its entry, charts have words."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.pages import weekly_html as module
from loadgen.programme.pages.charts_svg import chart_svg
from loadgen.programme.pages.dates_in_words import days_text, period_name, time_text, zone_of
from loadgen.programme.pages.evidence_html import anchor
from loadgen.programme.pages.launch_html import launch_html
from loadgen.programme.pages.launch_values import LaunchEvidence
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.weekly.page_values import Chart, ChartLine, ChartMark, Said, Section
from tests.support.made_launch_page import hostile_launch, made_launch
from tests.support.made_weekly_page import DAY, HOSTILE, START, example_page, hostile_page, public_page
from tests.support.read_first_screen import lines_of

FOLDER = Path(module.__file__).parent


class Seen(HTMLParser):
    """All elements of a page with their attributes, and all its text."""

    def __init__(self, html: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all_of(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return {
        "example": weekly_html(example_page()),
        "public": weekly_html(public_page()),
        "hostile": weekly_html(hostile_page()),
        "launch": launch_html(made_launch()),
        "hostile launch": launch_html(hostile_launch()),
    }


@pytest.fixture(scope="module")
def seen(pages: dict[str, bytes]) -> dict[str, Seen]:
    return {name: Seen(html) for name, html in pages.items()}


# -- nothing is loaded, and texts are texts -------------------------------------------------------


def test_pages_have_no_script_and_load_nothing(pages: dict[str, bytes], seen: dict[str, Seen]) -> None:
    for name, one in seen.items():
        policy = next(
            attrs["content"] for tag, attrs in one.tags if attrs.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'; style-src 'sha256-"), name
        tags = {tag for tag, _ in one.tags}
        assert not tags & {"script", "img", "iframe", "object", "embed", "form", "video", "base", "use", "image"}, name
        assert {href for href in one.all_of("href") if not href.startswith("#")} == {"data:,"}, name
        assert not [attribute for _, attrs in one.tags for attribute in attrs if attribute[:2] == "on"], name
        assert not set(one.all_of("src")) | set(one.all_of("style")) | set(one.all_of("action")), name
        style = re.search(rb"<style>(.*?)</style>", pages[name], re.DOTALL)
        assert style is not None, name
        assert not re.search(rb"url\(|@import", style[1]), name


def test_texts_of_an_enemy_are_shown_as_texts(seen: dict[str, Seen]) -> None:
    for name in ("hostile", "hostile launch"):
        for text in HOSTILE:
            assert one_line(text, 300)[:200] in seen[name].text.replace("\n", ""), (name, text)
        assert "\u202e" not in seen[name].text
        assert "\u200b" not in seen[name].text
        assert "\x1b" not in seen[name].text


def test_a_page_of_an_enemy_has_the_elements_of_a_page_of_a_friend(seen: dict[str, Seen]) -> None:
    assert {tag for tag, _ in seen["hostile"].tags} <= {tag for tag, _ in seen["example"].tags} | {"circle"}
    assert {tag for tag, _ in seen["hostile launch"].tags} <= {tag for tag, _ in seen["launch"].tags}


def test_the_same_page_gives_the_same_bytes(pages: dict[str, bytes]) -> None:
    assert weekly_html(example_page()) == pages["example"]


# -- evidence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["example", "hostile"])
def test_each_link_to_evidence_leads_to_one_entry(seen: dict[str, Seen], name: str) -> None:
    places = seen[name].all_of("id")
    links = {href[1:] for href in seen[name].all_of("href") if href.startswith("#")}
    assert len(places) == len(set(places))
    assert links
    assert links <= set(places)


def test_every_number_of_a_row_and_every_entry_has_its_place(seen: dict[str, Seen]) -> None:
    page = example_page()
    links = {href[1:] for href in seen["example"].all_of("href")}
    used = {one for row in page.rows for _, cell in row.cells() for one in cell.evidence}
    used |= {one for said in page.sentences for one in said.evidence}
    assert used
    assert {anchor(one) for one in used} <= links
    assert {anchor(one.id) for one in page.evidence} <= set(seen["example"].all_of("id"))
    for one in page.evidence:
        assert f"loadgen evidence {one.id}" in seen["example"].text


def test_an_id_without_an_entry_is_a_text_and_not_a_dead_link() -> None:
    page = replace(example_page(), evidence=())
    found = Seen(weekly_html(page))
    assert not [href for href in found.all_of("href") if href.startswith("#")]
    assert "S-11800001" in found.text


def test_an_entry_has_inputs_formula_revisions_runs_and_commands() -> None:
    entry = EvidenceEntry(
        "S-1", "slices", "says it", "a / b", (("query", "up"),), ("day/prod-3",), ("run-1",), "loadgen slo status"
    )
    text = Seen(weekly_html(replace(example_page(), evidence=(entry, entry)))).text
    for one in ("says it", "a / b", "query", "up", "day/prod-3", "run-1", "loadgen evidence S-1", "loadgen slo status"):
        assert text.count(one), one
    assert text.count("says it") == 1


def test_places_of_different_ids_differ() -> None:
    ids = ["S-1", "S_1", "S 1", "S-1_", "S_20_1", "S-" + "x" * 100, "S-" + "x" * 101, "Ä", "é"]
    assert len({anchor(one) for one in ids}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", anchor(one)) for one in ids)


def test_a_sentence_about_all_promises_shows_three_ids_and_the_number_of_the_others() -> None:
    said = Said("14 promises.", "plain", tuple(f"S-{n}" for n in range(14)))
    assert "S-0 S-1 S-2 and 11 more" in Seen(weekly_html(replace(example_page(), sentences=(said,)))).text


# -- what stands on it ----------------------------------------------------------------------------


def test_the_header_has_week_days_completeness_late_sources_and_the_id(seen: dict[str, Seen]) -> None:
    text = seen["example"].text
    assert "Week 30 20 to 26 July 2026 · data complete to 26 July 2026 23:55 Europe/Berlin" in text
    assert "2 of 9 sources late: prod-prometheus, cloudwatch-eu · page w30-4f1a" in text
    none_late = Seen(weekly_html(replace(example_page(), late=(), complete_to=0))).text
    assert "how complete the data are is not known · all 9 sources on time" in none_late


def test_periods_have_words_and_follow_the_zone() -> None:
    berlin = zone_of("Europe/Berlin")
    assert days_text(START, START + 7 * DAY, berlin) == "20 to 26 July 2026"
    assert days_text(START, START + 7 * DAY, UTC) == "19 to 26 July 2026"
    assert days_text(START + 7 * DAY, START + 14 * DAY, berlin) == "27 July to 2 August 2026"
    assert days_text(1_798_412_400, 1_799_017_200, berlin) == "28 December 2026 to 3 January 2027"
    assert days_text(START, START, berlin) == "20 July 2026"
    assert [period_name(week) for week in ("2026-W03", "2026-Q3", "x", "")] == ["week 3", "quarter 3", "x", ""]
    assert time_text("2026-07-27T08:00:30+02:00") == "27 July 2026 06:00 UTC"
    assert [time_text(text) for text in ("", "soon", "2026-07-27", "2026-07-27T06:00:00")] == [
        "",
        "soon",
        "2026-07-27",
        "2026-07-27T06:00:00",
    ]
    assert zone_of("../../etc/passwd") is UTC
    assert zone_of("Mars/Base") is UTC


def test_a_public_page_has_promises_and_attainment_and_nothing_else(seen: dict[str, Seen]) -> None:
    text = seen["public"].text
    for one in ("no, 99.41 %", "99.5 % ≤ 300 ms, 4w", "yes, 99.23 %", "20 to 26 July 2026"):
        assert one in text
    for one in (
        "@shop",
        "€",
        "S-11800001",
        "prod-prometheus",
        "FAIL",
        "became slower by 6 %",
        "http_requests_total",
        "27 min",
    ):
        assert one not in text, one
    assert not [tag for tag, _ in seen["public"].tags if tag == "svg"]


def test_an_empty_section_says_so_and_unreadable_parts_have_a_section() -> None:
    page = replace(
        example_page(), sections=(Section("Anomalies", (), "No anomaly was found."),), notes=("C-9 is torn.",)
    )
    text = Seen(weekly_html(page)).text
    assert "No anomaly was found." in text
    assert "Unreadable" in text
    assert "C-9 is torn." in text


def test_paper_shows_how_many_items_it_leaves_out() -> None:
    many = Section("What changed", tuple(Said(f"Change {n}.") for n in range(9)))
    html = weekly_html(replace(example_page(), sections=(many, many))).decode()
    assert html.count('<li class="is-plain on-screen">') == 2 * 5
    assert html.count("5 more on the page as HTML.") == 2
    few = weekly_html(replace(example_page(), rows=example_page().rows[:3], sections=(many, many))).decode()
    assert '<li class="is-plain on-screen">' not in few


def test_rows_beyond_one_sheet_are_on_a_second_one_and_the_first_says_what_they_are() -> None:
    rows = (*(replace(example_page().rows[3], journey=f"journey-{n}") for n in range(13)), example_page().rows[0])
    html = weekly_html(replace(example_page(), rows=rows)).decode()
    assert "3 more are on the second sheet: 1 with bad news." in html
    assert re.findall(r"<span>(journey-\d+)</span>", html.split("Other promises")[1]) == ["journey-11", "journey-12"]
    assert "second sheet" not in weekly_html(replace(example_page(), rows=rows[:12])).decode()


def test_a_launch_that_worse_news_displaced_is_still_on_the_first_screen() -> None:
    launch = Said("Launch of v412: INCONCLUSIVE, missing: 2 runs of v412 (D-2).", "open", ("D-207",), "", "launch")
    page = replace(example_page(), sentences=example_page().sentences[:2], sections=(Section("x", (launch,)),))
    assert f"{launch.text} D-207" in "\n".join(lines_of(weekly_html(page)))
    head, sentences = weekly_html(page).decode().split('<section class="first"')[:2]
    assert '<p class="launch is-open">' in head
    assert sentences.split("</section>")[0].count("<p ") == 2
    assert '<p class="launch' not in weekly_html(example_page()).decode()
    good = replace(launch, text="Launch of v412: GO (D-2).", tone="good")
    assert '<p class="launch' not in weekly_html(replace(page, sections=(Section("x", (good,)),))).decode()
    assert "Launch" not in Seen(weekly_html(replace(page, is_public=True))).text


def test_a_page_without_promises_says_so() -> None:
    assert "There are no promises." in Seen(weekly_html(replace(example_page(), rows=()))).text


# -- colours and charts ---------------------------------------------------------------------------


def test_all_colours_have_a_contrast_of_at_least_4_5(pages: dict[str, bytes]) -> None:
    for name in ("example", "launch"):
        style = pages[name].split(b"<style>")[1].split(b"</style>")[0].decode()
        values = dict(re.findall(r"--([a-z0-9]+): light-dark\((#\w+, #\w+)\)", style))
        for ink in ("ink", "quiet", "good", "bad", "doubt", "focus", *(f"c{n}" for n in range(1, 9))):
            for ground in ("paper", "panel"):
                for one, other in zip(values[ink].split(", "), values[ground].split(", "), strict=True):
                    assert _contrast(one, other) >= 4.5, (name, ink, ground)


def test_styles_of_pages_use_only_colours_whose_contrast_is_tested() -> None:
    text = "".join(
        re.sub(r"/\*.*?\*/|:root \{.*?\n\}", "", (FOLDER / name).read_text(), flags=re.DOTALL)
        for name in ("page.css", "weekly.css", "launch.css")
    )
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?=[^{}]*\})", text)
    used = set(re.findall(r"(?<![a-z-])(?:color|fill|stroke): *([^;}]+)", text))
    tested = {f"var(--{name})" for name in ("ink", "quiet", "bad", "doubt", "good", "c", "focus")}
    # Lines of the grid and the outline of texts carry no meaning.
    assert used <= tested | {"inherit", "none", "var(--grid)", "var(--panel)"}


def test_each_chart_has_a_title_and_a_text_for_people_who_do_not_see_it(pages: dict[str, bytes]) -> None:
    html = pages["example"].decode()
    charts = re.findall(r'<figure class="chart">.*?</figure>', html, re.DOTALL)
    assert len(charts) == 3
    for one in charts:
        described = re.search(r"<title>[^<]+</title><desc>([^<]{20,})</desc>", one)
        assert described is not None
        assert f"<figcaption>{described[1]}" in one


def test_a_gap_breaks_a_line_and_a_single_point_is_a_dot() -> None:
    line = ChartLine(
        "a", ((0, 1.0), (DAY, None), (2 * DAY, 2.0), (3 * DAY, 3.0), (4 * DAY, float("nan")), (5 * DAY, 1.0))
    )
    svg = chart_svg(Chart("t", "ms", "x", (line,)), UTC)
    assert svg.count("<polyline") == 3
    assert svg.count("<circle") == 2
    assert svg.count(">a</text>") == 1


def test_lines_differ_in_grey_and_only_the_worst_of_many_have_labels() -> None:
    lines = [ChartLine(f"line {n}", ((0, float(n)), (DAY, float(n)))) for n in range(14)]
    lines[9] = replace(lines[9], tone="bad")
    svg = chart_svg(Chart("t", "%", "x", tuple(lines)), UTC)
    labels = re.findall(r'class="s\d end"[^>]*>([^<]+)<', svg)
    assert sorted(labels) == sorted(["line 9", *(f"line {n}" for n in range(7))])
    assert 'class="s1 line"' in svg
    assert {dash for dash in re.findall(r"line (d\d)", svg)} == {"d1", "d2", "d3", "d4"}


def test_labels_of_a_chart_do_not_cover_each_other() -> None:
    marks = tuple(ChartMark(n * DAY, "81ac0f3 +6 %") for n in (1, 2, 3))
    lines = tuple(
        ChartLine(f"line {n}", ((0, 1.0), (9 * DAY, 1.0 + n / 1000)), marks=marks if not n else ()) for n in range(6)
    )
    svg = chart_svg(Chart("t", "%", "x", lines, 1.0, "limit"), UTC)
    ends = sorted(float(y) for y in re.findall(r' end" x="[\d.]+" y="([\d.]+)"', svg))
    assert len(ends) == 7
    assert min(b - a for a, b in itertools.pairwise(ends)) >= 11.9
    assert len(set(re.findall(r' place" x="[\d.]+" y="([\d.]+)"', svg))) == 3


def test_the_axis_has_at_most_five_dates_and_the_last_day_is_one_of_them() -> None:
    for days in (1, 6, 28, 91, 400):
        line = ChartLine("a", tuple((START + n * DAY, 1.0) for n in range(days + 1)))
        svg = chart_svg(Chart("t", "ms", "x", (line,)), zone_of("Europe/Berlin"))
        dates = re.findall(r">(\d+ [A-Z][a-z]{2})</text>", svg)
        assert 2 <= len(dates) <= 5, days
    assert chart_svg(Chart("t", "ms", "x", (ChartLine("a", ((START, None),)),)), UTC) == ""
    assert chart_svg(Chart("t", "ms", "x", ()), UTC) == ""


# -- the launch page ------------------------------------------------------------------------------


def test_the_launch_page_has_recommendation_reason_evidence_and_what_is_missing(seen: dict[str, Seen]) -> None:
    text = seen["launch"].text
    for one in (
        "INCONCLUSIVE",
        "Two of five required pieces",
        "gate of checkout",
        "G-88",
        "loadgen slo pull",
        "time not known",
        "1 h 35 min",
        "3 commands, 1 h 56 min together without the 1 of unknown time",
        "Rollback was rehearsed",
        "Override of D-201",
        "3,900 €",
        "That is not a pass.",
    ):
        assert one in text, one


def test_a_launch_page_without_evidence_says_so_and_is_not_go() -> None:
    page = replace(made_launch(), evidence=(), missing=(), impact=(), checklist=(), answers=(), notes=(), id="")
    text = Seen(launch_html(page)).text
    for one in (
        "There is no evidence at all.",
        "Nothing that a command could add.",
        "Nothing is known about what is at stake.",
        "Nobody has signed",
        "a signature needs a stored recommendation",
    ):
        assert one in text, one
    assert page.tone == "open"
    assert replace(page, recommendation="GO").tone == "good"
    assert replace(page, recommendation="NO-GO").tone == "bad"
    assert replace(page, recommendation="something else").tone == "open"


def test_bad_news_is_above_missing_evidence_and_that_above_good_news() -> None:
    page = made_launch()
    page = replace(page, evidence=(*page.evidence, LaunchEvidence("budget", "", "failed", "spent.", "", "bad")))
    states = re.findall(r'data-name="state"><span>([^<]+)<', launch_html(page).decode())
    assert states == ["failed", "undecided", "too old", "kept", "passed", "healthy", "done", "open"]


def test_a_state_stands_in_words_beside_its_colour() -> None:
    page = replace(made_launch(), evidence=(LaunchEvidence("gate", "", "failed", "p95 +9 %.", "G-1", "bad"),))
    assert re.search(r'class="state is-bad" data-name="state"><span>failed<', launch_html(page).decode())


def _contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21. Source: WCAG 2, relative luminance."""

    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
