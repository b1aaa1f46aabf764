"""Shares are exact, whatever the weights and however many agents."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import FleetError
from loadgen_controller.core import shares as assigning
from loadgen_controller.core.shares import Candidate, assign, joined, reassigned, with_agent


def test_region_weight_is_shared_by_its_agents() -> None:
    fleet = [Candidate("u2", "us"), Candidate("e1", "eu"), Candidate("u1", "us")]
    assignment = assign({"us": 0.6, "eu": 0.4}, fleet)
    assert assignment.agents == ("u1", "u2", "e1")
    assert assignment.regions == ("us", "us", "eu")
    assert assignment.weights == (3.0, 3.0, 4.0)
    assert assignment.share("e1") == 0.4
    assert (assignment.index("u2"), assignment.region("u2")) == (1, "us")


def test_agents_share_a_region_by_their_capacity() -> None:
    assert assign({"us": 1}, [Candidate("a", "us", 1), Candidate("b", "us", 2)]).weights == (1.0, 2.0)


def test_agents_of_other_regions_and_of_regions_without_weight_take_no_part() -> None:
    fleet = [Candidate("a", "us"), Candidate("b", "mars"), Candidate("c", "eu")]
    assert assign({"us": 1, "eu": 0}, fleet).agents == ("a",)


def test_region_without_an_agent_is_named() -> None:
    with pytest.raises(FleetError, match="no agent in eu, ap"):
        assign({"us": 1, "eu": 1, "ap": 2}, [Candidate("a", "us"), Candidate("b", "eu", 0)])


def test_no_weight_at_all_is_an_error() -> None:
    with pytest.raises(FleetError, match="no region has a weight"):
        assign({"us": 0}, [Candidate("a", "us")])


weight = st.decimals("0.001", 1000, places=3).map(float)


@given(
    regions=st.dictionaries(st.sampled_from("abcdef"), weight, min_size=1),
    sizes=st.lists(st.lists(weight, min_size=1, max_size=8), min_size=6, max_size=6),
)
def test_every_region_gets_exactly_its_weight(regions: dict[str, float], sizes: list[list[float]]) -> None:
    fleet = [
        Candidate(f"{region}{n}", region, w)
        for region, weights in zip("abcdef", sizes, strict=True)
        for n, w in enumerate(weights)
    ]
    assignment = assign(regions, fleet)
    assert all(w > 0 for w in assignment.weights)
    if not all(w == int(w) for w in assignment.weights):
        return  # too large to be exact
    total = sum(Fraction(w) for w in assignment.weights)
    plan_total = sum(Fraction(str(w)) for w in regions.values())
    for region, plan_weight in regions.items():
        got = sum(Fraction(w) for w, r in zip(assignment.weights, assignment.regions, strict=True) if r == region)
        assert got / total == Fraction(str(plan_weight)) / plan_total


@given(st.integers(1, 1000))
def test_equal_agents_get_equal_weights(n: int) -> None:
    assert assign({"us": 0.7}, [Candidate(f"{i:04}", "us") for i in range(n)]).weights == (1.0,) * n


FLEET = assign({"us": 0.6, "eu": 0.4}, [Candidate("e1", "eu"), Candidate("u1", "us", 1), Candidate("u2", "us", 2)])


def test_what_a_lost_agent_had_goes_to_its_region_and_where_nobody_is_left_to_all() -> None:
    first = reassigned(FLEET, {"u1", "e1"}, 30)
    assert (first.agents, first.weights) == (FLEET.agents, FLEET.weights)
    assert first.generation == 2
    assert dict(zip(first.agents, first.weights_now, strict=True)) == {"u1": 3.0, "u2": 0.0, "e1": 2.0}
    second = reassigned(first, {"e1"}, 50)
    assert second.generation == 3
    assert dict(zip(second.agents, second.weights_now, strict=True)) == {"u1": 0.0, "u2": 0.0, "e1": 1.0}


def test_what_an_agent_may_still_drive_is_nobody_elses() -> None:
    moved = reassigned(FLEET, {"e1"}, 30, held=["u1"])
    assert dict(zip(moved.agents, moved.weights_now, strict=True)) == {"u1": 1.0, "u2": 0.0, "e1": 4.0}
    assert moved.tenures("u1", 100) == ((0, 30, 0.2), (30, 100, 0.2))


def test_a_tenure_is_from_when_until_when_an_agent_has_which_share() -> None:
    moved = reassigned(reassigned(FLEET, {"u1", "e1"}, 30), {"e1"}, 50)
    assert moved.tenures("u2", 100) == ((0, 30, 0.4),)
    assert moved.tenures("u1", 100) == ((0, 30, 0.2), (30, 50, 0.6))
    assert moved.tenures("e1", 40) == ((0, 30, 0.4), (30, 40, 0.4))
    assert (moved.share("u1"), moved.first_share("u1")) == (0.6, 0.2)
    assert (moved.part_of_region("u2", 29), moved.part_of_region("u2", 30)) == (2 / 3, 0.0)


def test_nobody_left_is_an_error() -> None:
    with pytest.raises(ValueError, match="no agent is left"):
        reassigned(FLEET, set(), 30)


def test_who_joins_gets_its_part_of_its_region_and_the_others_have_as_much_less() -> None:
    fleet = [Candidate("e1", "eu"), Candidate("u1", "us", 1), Candidate("u2", "us", 2), Candidate("u3", "us", 3)]
    found = joined(with_agent(FLEET, "u3", "us"), {"us": 0.6, "eu": 0.4}, fleet, ["u3"], 70)
    assert dict(zip(found.agents, found.weights_now, strict=True)) == {"u1": 1.0, "u2": 2.0, "e1": 4.0, "u3": 3.0}
    assert found.tenures("u3", 100) == ((70, 100, 0.3),)
    assert found.weights == (*FLEET.weights, 0.0)


def test_several_that_join_get_their_parts_in_one_change() -> None:
    fleet = [Candidate("e1", "eu"), Candidate("u1", "us", 1), Candidate("u2", "us", 2), Candidate("u3", "us", 3)]
    fleet.append(Candidate("e2", "eu", 3))
    grown = with_agent(with_agent(FLEET, "u3", "us"), "e2", "eu")
    found = joined(grown, {"us": 0.6, "eu": 0.4}, fleet, ["u3", "e2"], 70)
    now = dict(zip(found.agents, found.weights_now, strict=True))
    assert now == {"u1": 1.0, "u2": 2.0, "e1": 1.0, "u3": 3.0, "e2": 3.0}
    assert len(found.changes) == 1


def test_nobody_but_who_joins_gets_more() -> None:
    alone = reassigned(FLEET, {"e1"}, 30)
    fleet = [Candidate("e1", "eu"), Candidate("u3", "us")]
    found = joined(with_agent(alone, "u3", "us"), {"us": 0.6, "eu": 0.4}, fleet, ["u3"], 70)
    assert dict(zip(found.agents, found.weights_now, strict=True)) == {"u1": 0.0, "u2": 0.0, "e1": 2.0, "u3": 3.0}
    assert [one.generation for one in found.changes] == [2, 3]


def test_the_weights_of_all_are_added_up_as_often_for_many_agents_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each of 1,000 agents it took 17 s, in which the controller acknowledged nothing, and all leases ended."""
    totals: list[int] = []
    total = assigning._total

    def counted(weights: Sequence[float]) -> Fraction:
        totals.append(len(weights))
        return total(weights)

    monkeypatch.setattr(assigning, "_total", counted)

    def times(agents: int) -> int:
        fleet = [Candidate(f"a{n}", "eu") for n in range(agents)]
        known = with_agent(assign({"eu": 1}, fleet), "new", "eu")
        totals.clear()
        joined(known, {"eu": 1}, [*fleet, Candidate("new", "eu")], ["new"], 70)
        return len(totals)

    assert times(200) == times(2)
