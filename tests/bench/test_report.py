"""How RESULTS.md is written."""

from __future__ import annotations

import inspect

import pytest

from bench.__main__ import SECTIONS
from bench.report import Section, held, not_held, replaced, skipped

A = Section("Apples", "Counted.", ["what", "n"], [["red", "1"]], "Budget 2: held.").markdown("`count`, today")
B = Section("Pears", "Weighed.", ["what", "kg"], [["green", "2"]]).markdown("`weigh`, today")


def test_a_section_tells_how_it_was_measured_and_from_which_run() -> None:
    assert A == (
        "## Apples\n\n`count`, today\n\nCounted.\n\n| what | n |\n| --- | --- |\n| red | 1 |\n\nBudget 2: held.\n"
    )


def test_a_section_that_is_skipped_gives_its_reason() -> None:
    assert skipped("HTTP/2", "h2load is not installed").markdown() == (
        "## HTTP/2\n\nSkipped: h2load is not installed.\n"
    )


def test_a_section_takes_the_place_of_the_one_of_its_title_and_leaves_the_others() -> None:
    results = replaced(replaced("# Results\n\n- machine: one\n", A), B)
    newer = Section("Apples", "Counted again.").markdown("`count`, tomorrow")

    assert results == f"# Results\n\n- machine: one\n\n{A}\n{B}"
    assert replaced(results, newer) == f"# Results\n\n- machine: one\n\n{newer}\n{B}"
    assert replaced(results, B) == results


def test_what_is_not_held_is_told_at_the_end() -> None:
    verdict = f"a / b = 2.44, budget 2.2: {held(False)}. a / c = 0.1, budget 1/5: {held(True)}. Wanted is 1.6."

    assert not_held(Section("Apples", "Counted.", ["n"], [["1"]], verdict).markdown()) == [
        "a / b = 2.44, budget 2.2: NOT HELD."
    ]


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_takes_the_arguments_of_a_quick_pass(name: str) -> None:
    part = SECTIONS[name]

    assert set(part.quick) <= set(inspect.signature(part.measure).parameters)
