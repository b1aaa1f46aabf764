"""More series than there may be are merged, in the same way everywhere; names that are too long are cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen.measure.deltas.limits import NAME_BYTES, SERIES_OF_AGENT, TEXT_BYTES, cut
from loadgen.measure.deltas.series_key import OK, OTHER, TIMEOUT, SeriesKey
from loadgen.measure.deltas.series_numbering import Numbering, fitting, is_merged, shortened, tight_from

KEY = SeriesKey("request", "shop", "pay", "POST /pay", "http 503", "response", tags=(("load", "spike"),))


def never(_: SeriesKey) -> bool:
    return False


@pytest.mark.parametrize(
    ("used", "outcome", "step", "name", "journey", "tags"),
    [
        (79, "http 503", "pay", "POST /pay", "shop", (("load", "spike"),)),
        (80, OTHER, "pay", "POST /pay", "shop", (("load", OTHER),)),
        (90, OTHER, OTHER, OTHER, "shop", ((OTHER, OTHER),)),
        (95, OTHER, OTHER, OTHER, OTHER, ((OTHER, OTHER),)),
    ],
)
def test_a_series_loses_the_least_important_names_first(
    used: int, outcome: str, step: str, name: str, journey: str, tags: tuple[tuple[str, str], ...]
) -> None:
    found = fitting(KEY, never, used, 100)
    assert found == replace(KEY, outcome=outcome, step=step, request=name, journey=journey, tags=tags)
    assert is_merged(found) is (used >= 80)


@pytest.mark.parametrize("outcome", [OK, TIMEOUT, "skipped", "missed", "cut off"])
def test_outcomes_that_objectives_tell_apart_stay_apart(outcome: str) -> None:
    assert fitting(replace(KEY, outcome=outcome), never, 99, 100).outcome == outcome


def test_a_step_that_is_not_there_does_not_come_into_being() -> None:
    outside = replace(KEY, step=None)
    assert fitting(outside, never, 99, 100).step is None


def test_a_trend_is_never_merged() -> None:
    trend = SeriesKey("trend", "", None, "basket", OK, "value")
    assert fitting(trend, never, 99, 100) is trend


def test_any_number_of_series_get_at_most_the_limit_of_numbers() -> None:
    numbering = Numbering(1_000)
    for n in range(20_000):
        key = SeriesKey("request", f"j{n % 7}", f"s{n % 100}", f"GET /{n}", f"e{n % 13}", "response", n % 3 == 0)
        number = numbering.number(key)
        assert 0 <= number < 1_000
        assert numbering.number(key) == number
    assert tight_from(1_000) <= len(numbering) <= 1_000
    assert numbering.is_full
    assert len(set(numbering.keys)) == len(numbering.keys)


def test_what_one_numbering_gave_out_a_second_one_leaves_as_it_is() -> None:
    """A worker merges, and the supervisor that adds up one worker finds the same numbers."""
    first, second = Numbering(200), Numbering(200)
    for n in range(1_000):
        first.number(SeriesKey("request", f"j{n % 3}", f"s{n % 17}", f"GET /{n}", f"e{n % 5}", "response"))
    assert [second.number(key) for key in first.keys] == list(range(len(first)))
    assert second.keys == first.keys


def test_a_numbering_that_is_not_full_merges_nothing() -> None:
    numbering = Numbering()
    keys = [replace(KEY, request=f"GET /{n}") for n in range(tight_from(SERIES_OF_AGENT))]
    assert [numbering.number(key) for key in keys] == list(range(len(keys)))
    assert not numbering.is_full


def test_a_long_name_is_cut_with_a_mark() -> None:
    url = "GET /" + "x" * 12_000_000
    found = shortened(replace(KEY, request=url)).request
    assert found is not None
    assert len(found.encode()) <= NAME_BYTES
    assert found.startswith("GET /xxx")
    assert found.endswith(" ... (12,000,005 bytes)")


@pytest.mark.parametrize("text", ["ä" * 200, "好" * 100, "🛒" * 100, "\ud800" * 300, "a" * 257])
@pytest.mark.parametrize("most", [NAME_BYTES, TEXT_BYTES])
def test_a_cut_text_is_within_the_limit_and_stays_as_it_is(text: str, most: int) -> None:
    found = cut(text * 5, most)
    assert len(found.encode()) <= most
    assert cut(found, most) == found


@pytest.mark.parametrize("text", ["", "GET /", "a" * 256, "🛒" * 64])
def test_a_text_that_fits_is_not_cut(text: str) -> None:
    assert cut(text) is text
