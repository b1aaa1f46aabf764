"""What searches and their confirmation say together: a number only where it is known."""

from __future__ import annotations

import pytest

from loadgen.capacity.find.finished_runs import SearchEnd, SearchRun
from loadgen.capacity.find.found_capacity import FoundCapacity, judge_searches
from loadgen.studies.study import StudyResult
from tests.support.made_searches import held_run, search_run

THREE = [search_run(78.0), search_run(80.0), search_run(82.0)]


def judged(searches: list[SearchRun], wanted: int = 3, **changes: object) -> FoundCapacity:
    return judge_searches(searches, wanted, **({"is_confirmation_wanted": False} | changes))  # type: ignore[arg-type]


def test_three_searches_and_a_confirmation_give_the_rate_to_plan_with() -> None:
    found = judged(THREE, is_confirmation_wanted=True, held=held_run(), is_restarted=True)

    assert found.result == "decided"
    assert found.capacity is not None
    low = found.capacity.low_per_s
    assert 76 < low < 78
    assert found.headline == (
        f"Plan with {low:.1f}/s: p(99) < 300ms holds up to 80.0/s (90 %: {low:.1f} to "
        f"{found.capacity.high_per_s:.1f}; 3 searches, held for 10 min)"
    )
    assert not any("purchase" in reason for reason in found.reasons)


def test_one_search_is_one_condition_of_the_target() -> None:
    found = judged([search_run(80.0)], 1)

    assert found.result == "decided"
    assert any("One search is one condition of the target" in reason for reason in found.reasons)
    assert any("at least 3 with --restart before a purchase" in reason for reason in found.reasons)
    assert any("--confirm 0" in reason for reason in found.reasons)
    assert "without confirmation" in found.headline


def test_three_searches_without_a_restart_share_one_condition() -> None:
    found = judged(THREE, held=held_run())

    assert any("was not restarted between the searches" in reason for reason in found.reasons)


def test_searches_that_differ_more_than_their_errors_say_so_and_get_a_wider_interval() -> None:
    found = judged([search_run(70.0), search_run(80.0), search_run(91.0)], held=held_run(), is_restarted=True)

    assert found.capacity is not None
    assert found.capacity.half_width > 0.2
    assert any("more than their own errors" in reason for reason in found.reasons)
    assert any("wider than 5 %" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("end", "result", "headline"),
    [
        ("generator was the limit", "invalid", "No capacity: the load generator was the limit, and not the target"),
        ("never met", "failed", "No capacity: p(99) < 300ms is never met"),
        ("not decided", "not decided", "Not decided: search 3 of 3: too few results"),
        ("incomplete", "not decided", "Not decided: search 3 of 3: too few results"),
        ("stopped", "not decided", "Not decided: search 3 of 3: too few results"),
    ],
)
def test_a_search_without_a_rate_leaves_no_capacity(end: SearchEnd, result: StudyResult, headline: str) -> None:
    found = judged([search_run(), search_run(), search_run(None, end=end, why="too few results")])

    assert (found.result, found.headline) == (result, headline)
    assert found.capacity is None
    assert any("2 searches found a rate, and can be used again with --from" in reason for reason in found.reasons)


def test_a_knee_that_was_not_reached_gives_a_bound_and_no_capacity() -> None:
    why = "the knee was not reached: p(99) < 300ms is met at 400/s, the highest allowed rate (upto)"
    found = judged([search_run(400.0, end="not reached", why=why, low_per_s=None, high_per_s=None)], 1)

    assert found.result == "not decided"
    assert found.headline == "Not reached: the capacity for p(99) < 300ms is at least 400/s"
    assert found.at_least_per_s == 400.0
    assert found.capacity is None


def test_the_generators_limit_outweighs_everything_else() -> None:
    found = judged([search_run(), search_run(end="not reached"), search_run(end="generator was the limit")])

    assert found.result == "invalid"


def test_a_confirmation_that_fails_leaves_no_capacity() -> None:
    found = judged(THREE, is_confirmation_wanted=True, held=held_run(is_confirmed=False))

    assert found.result == "not decided"
    assert found.headline == "Not confirmed: p(99) < 300ms did not hold for 10 min at 76.0/s"
    assert found.capacity is None
    assert found.combined is not None


def test_a_confirmation_that_decides_nothing_leaves_no_capacity() -> None:
    found = judged(THREE, is_confirmation_wanted=True, held=held_run(is_confirmed=None))

    assert found.headline == "Not decided: the confirmation is too short to judge the objective"
    assert found.result == "not decided"


def test_a_series_that_ended_early_names_its_trouble() -> None:
    found = judged(THREE[:2], trouble="the restart command failed with exit code 1: no such container")

    assert found.headline == "Not decided: 2 of 3 searches are complete"
    assert "The restart command failed with exit code 1: no such container." in found.reasons


def test_without_any_search_nothing_is_decided() -> None:
    assert judged([], trouble="it was interrupted by Ctrl-C").headline == "Not decided: 0 of 3 searches are complete"


def test_a_confirmation_that_is_still_missing_is_named() -> None:
    found = judged(THREE, is_confirmation_wanted=True, trouble="it was interrupted by Ctrl-C")

    assert found.headline == "Not decided: it was interrupted by Ctrl-C"
