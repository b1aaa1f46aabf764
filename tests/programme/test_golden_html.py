"""The weekly page of the made programme as HTML: the same bytes, every number of it, and a director who reads it."""

from __future__ import annotations

import re
from pathlib import Path

from loadgen.outside_text import in_html, one_line
from loadgen.programme.pages.evidence_html import anchor
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.weekly.build_page import used_ids
from loadgen.programme.weekly.page_values import WeeklyPage
from tests.support.read_first_screen import QUESTIONS, answers, lines_of

GOLDEN = Path(__file__).parent / "golden" / "2026-W30.html"
_STYLE = re.compile(rb"<style>.*?</style>|sha256-[^']*", re.DOTALL)
"""The style is that of all static pages, and changes with them."""


def test_the_page_of_the_made_programme_has_always_the_same_bytes(page: WeeklyPage) -> None:
    # To renew it after a change that is meant: write the left side into this file, and read the difference.
    assert _STYLE.sub(b"", weekly_html(page)) == GOLDEN.read_bytes()


def test_every_text_of_the_page_is_on_it_and_every_id_leads_to_its_entry(page: WeeklyPage) -> None:
    html = weekly_html(page).decode()
    texts = [one.text for one in page.sentences]
    texts += [cell.text for row in page.rows for _, cell in row.cells()]
    texts += [one.text for section in page.sections for one in section.items]
    texts += [chart.text for chart in page.charts]
    assert [text for text in texts if in_html(text) not in html] == []
    used = {anchor(one) for one in used_ids(page)}
    assert used <= set(re.findall(r'<article id="([^"]+)"', html))
    assert {one[1:] for one in re.findall(r'href="(#[^"]+)"', html)} <= used
    for entry in page.evidence:
        assert in_html(one_line(entry.says)) in html


def test_ten_questions_of_leadership_are_answered_by_the_first_screen(page: WeeklyPage) -> None:
    found = dict(zip(QUESTIONS, answers(lines_of(weekly_html(page))), strict=True))
    assert all(found.values()), found
    assert found["Which promise was not kept?"] == "Checkout"
    assert found["By how much?"] == "99.41 % against 99.5 %"
    assert found["What is the cause?"] == "the incident of Tuesday"
    assert re.search("^Search .* 6 %.* commit 81ac0f3$", found["What became slower, by how much, since which commit?"])
    assert found["Is the launch safe?"] == "INCONCLUSIVE"
    assert found["What is missing for it?"].startswith("2 runs of v412")
    assert found["Whom do I call for checkout?"] == "payments-oncall@shop.example"
    assert found["How much budget is left for checkout?"] == "-18 %"
    assert found["Which data are missing?"] == "accounts-db"
    assert found["Are all other promises kept?"] == "no; not decided: refund"
