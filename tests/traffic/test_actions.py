"""Actions: requests that follow a page by themselves belong to it, and decisions of people do not."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.traffic.sessions.actions import ActionRule, action_rule
from loadgen.traffic.sessions.session_table import SessionTable
from tests.support.made_sessions import PAGE, sessions_of

HOME, API, ADS, SEARCH, OTHER = range(5)
S = 1_000_000


def one_session(*requests: tuple[int, float]) -> SessionTable:
    """A session from (state, start in s); each request takes 10 ms."""
    return sessions_of([[(state, round(at * S)) for state, at in requests]], states=5, took_us=10_000)


def applied(rule: ActionRule, table: SessionTable) -> list[bool]:
    return [bool(is_main) for is_main in rule.applied(table).is_main]


@pytest.fixture(scope="module")
def rule() -> ActionRule:
    """From 500 sessions: home, 40 ms later api always and ads in 30 %, then a pause and a search."""
    rng = np.random.default_rng(1)
    sessions = []
    for begin in rng.integers(0, 10**10, 500):
        at = int(begin)
        one = [(HOME, at), (API, at + 50_000)]
        if rng.random() < 0.3:
            one.append((ADS, at + 55_000))
        one.append((SEARCH, at + round(rng.lognormal(1.2, 0.5) * S) + 60_000))
        sessions.append(one)
    return action_rule(sessions_of(sessions, states=5, took_us=10_000))


def test_what_follows_a_page_at_once_belongs_to_it(rule: ActionRule) -> None:
    table = one_session((HOME, 0), (API, 0.05), (ADS, 0.055), (SEARCH, 4), (HOME, 9), (API, 9.05))

    assert applied(rule, table) == [True, False, False, True, True, False]


def test_a_late_request_is_an_action_even_if_its_name_is_usually_a_part(rule: ActionRule) -> None:
    assert applied(rule, one_session((HOME, 0), (API, 1.2))) == [True, True]


def test_a_quick_request_is_an_action_if_its_name_usually_comes_after_a_pause(rule: ActionRule) -> None:
    assert applied(rule, one_session((HOME, 0), (API, 0.05), (SEARCH, 0.3))) == [True, False, True]


def test_the_first_request_of_a_session_is_a_main_one_whatever_its_name(rule: ActionRule) -> None:
    assert applied(rule, one_session((API, 0), (ADS, 0.02), (SEARCH, 5)))[0]


def test_a_rare_part_is_an_action_of_its_own() -> None:
    """3 % of the pages have it: below 5 %, a name is no part."""
    sessions = []
    for number in range(1_000):
        at = number * 100 * S
        one = [(HOME, at), (API, at + 50_000)]
        if number % 33 == 0:
            one.append((ADS, at + 55_000))
        sessions.append([*one, (SEARCH, at + 5 * S)])
    rare = action_rule(sessions_of(sessions, states=5, took_us=10_000))

    assert applied(rare, one_session((HOME, 0), (API, 0.05), (ADS, 0.055))) == [True, False, True]


def test_programs_that_never_pause_have_no_actions_of_several_requests() -> None:
    rng = np.random.default_rng(1)
    sessions = [
        [(HOME, at), (API, at + 80_000), (SEARCH, at + 200_000)] for at in rng.integers(0, 10**10, 500).tolist()
    ]

    assert not action_rule(sessions_of(sessions, states=5, took_us=10_000)).joins.any()


def test_stamps_of_whole_seconds_join_what_has_the_same_second() -> None:
    sessions = [[(HOME, at * S), (API, at * S), (SEARCH, (at + 4) * S)] for at in range(0, 100_000, 100)]
    whole = action_rule(sessions_of(sessions, states=5, took_us=0))

    assert applied(whole, one_session((HOME, 7), (API, 7), (SEARCH, 12))) == [True, False, True]


def test_no_request_is_lost_and_every_part_has_a_main_request(rule: ActionRule) -> None:
    rng = np.random.default_rng(4)
    starts = np.sort(rng.integers(0, 30 * S, (200, PAGE)), axis=1)
    states = rng.integers(0, 5, (200, PAGE))
    table = sessions_of(
        [list(zip(row.tolist(), at.tolist(), strict=True)) for row, at in zip(states, starts, strict=True)],
        states=5,
        took_us=10_000,
    )

    done = rule.applied(table)

    assert len(done.is_main) == len(table.state)
    assert done.is_main[table.bounds[:-1]].all()
    main = np.maximum.accumulate(np.where(done.is_main, np.arange(len(done.state)), 0))
    part = np.flatnonzero(~done.is_main)
    assert rule.children[done.state[main[part]], done.state[part]].all()
