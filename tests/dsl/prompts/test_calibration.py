"""The number of words is corrected by what a server counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.prompts.calibration import Calibration, calibrated


def test_one_counted_prompt_gives_the_factor() -> None:
    found = Calibration.measured([(1000, 1250)])

    assert found == Calibration(1.25, 0.0)
    assert calibrated(1000, found.tokens_per_word) == 800


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 4), st.integers(0, 300))
def test_two_lengths_separate_the_template_from_the_words(fewer: int, more: int, factor: int, template: int) -> None:
    counts = [(words, factor * words + template) for words in (fewer, fewer + more)]

    found = Calibration.measured(counts)

    assert found.tokens_per_word == pytest.approx(factor)
    assert found.template_tokens == pytest.approx(template, abs=1e-6)


def test_more_than_2_percent_is_reported_and_2_percent_is_not() -> None:
    assert not Calibration().warning
    assert not Calibration(1.02).warning
    assert not Calibration(0.98).warning
    assert "1.021 tokens for each word" in Calibration(1.021).warning
    assert Calibration(0.97).warning
    assert Calibration(1.03).off == pytest.approx(0.03)


def test_a_template_is_not_a_difference_of_the_vocabulary() -> None:
    assert not Calibration.measured([(64, 94), (1024, 1054)]).warning


@given(st.integers(1, 10**7), st.floats(0.2, 5))
def test_the_corrected_text_has_the_asked_tokens(tokens: int, factor: float) -> None:
    words = calibrated(tokens, factor)

    assert words >= 1
    assert abs(words * factor - tokens) <= max(factor, 1) / 2 + 1e-6 or words == 1


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([], "no prompt was counted"),
        ([(0, 5)], "both must be at least 1"),
        ([(5, 0)], "both must be at least 1"),
        ([(10, 50), (1000, 50)], "does not count the tokens of the prompt"),
    ],
)
def test_counts_that_cannot_be_are_errors(counts: list[tuple[int, int]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Calibration.measured(counts)


def test_a_factor_of_0_is_an_error() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        calibrated(10, 0)
