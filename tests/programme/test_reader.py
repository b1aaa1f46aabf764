"""A director reads the first screen of a weekly page: ten questions, answered from its text alone."""

from __future__ import annotations

from dataclasses import replace

from loadgen.programme.pages.weekly_html import weekly_html
from tests.support.made_weekly_page import example_page
from tests.support.read_first_screen import QUESTIONS, answers, lines_of

ANSWERS = (
    "Checkout",
    "99.41 % against 99.5 %",
    "the incident of Tuesday",
    "Search became slower by about 6 % on Wednesday with commit 81ac0f3",
    "INCONCLUSIVE",
    "2 runs are missing",
    "payments-oncall@shop.example",
    "-18 %",
    "prod-prometheus, cloudwatch-eu",
    "yes",
)


def test_ten_questions_of_leadership_are_answered_by_header_sentences_and_table() -> None:
    found = answers(lines_of(weekly_html(example_page())))
    assert dict(zip(QUESTIONS, found, strict=True)) == dict(zip(QUESTIONS, ANSWERS, strict=True))


def test_a_page_without_sentences_and_rows_answers_nothing() -> None:
    page = replace(example_page(), sentences=(), rows=(), late=())
    assert set(answers(lines_of(weekly_html(page)))) == {""}
