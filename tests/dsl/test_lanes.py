"""Several loads of a plan: offsets, names, rows, and what the command line makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import Plan, User, arrivals, feed, iterations, journey, p, users
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan import rows_needed
from loadgen.dsl.plans.plan_loads import Load
from loadgen.dsl.plans.spec import Overrides, PlanSpec, highest_sum
from loadgen.errors import ScenarioError
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from tests.support.scenarios import browse_with

S = NS_PER_S
ROWS = feed.rows(list(range(1000))).unique()


@journey
async def browse(user: User) -> None: ...


@journey(data=ROWS)
async def buy(user: User, row: int) -> None: ...


@journey(data=ROWS)
async def give(user: User, row: int) -> None: ...


def make(*loads: Any, **changes: Any) -> Plan:
    return Plan("https://shop.example", loads=loads, **changes)


def spike(**changes: Any) -> Load:
    return Load(browse, arrivals("200/s").hold("1m"), **({"after": "2m", "name": "spike"} | changes))


def base() -> Load:
    return Load(browse, arrivals("50/s").hold("10m"))


def messages(plan: Plan) -> list[str]:
    return [fault.message for fault in plan.faults]


def test_a_plan_with_one_load_has_one_lane_without_a_name() -> None:
    plan = Plan("http://x", arrivals("5/s").hold("1s"), {browse: 3, buy: 1}, max_users=7, random=True)
    (lane,) = plan.lanes
    assert (lane.name, lane.journeys, lane.weights, lane.after_ns) == ("", (browse, buy), (3, 1), 0)
    assert (lane.max_users, lane.random, lane.profile) == (7, True, plan.profile)
    assert lane.end_ns == plan.duration_ns == S


def test_several_loads_are_lanes_in_order() -> None:
    plan = make(base(), spike(max_users=30), max_users=90)
    assert [(lane.name, lane.after_ns, lane.max_users) for lane in plan.lanes] == [
        ("", 0, 90),
        ("spike", 120 * S, 30),
    ]
    assert plan.journeys == (browse,)
    spec = plan.spec()
    assert (spec.duration_ns, spec.total_arrivals, spec.peak, spec.is_open) == (600 * S, 42_000, 250, True)
    assert [spec.rate_at(t * S) for t in (0, 119, 120, 179, 180, 600)] == [50, 50, 250, 250, 50, 0]
    assert spec.max_users == 120
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec


def test_journeys_of_several_loads_weigh_by_their_arrivals() -> None:
    plan = make(Load({browse: 1, buy: 1}, arrivals("10/s").hold("10s")), Load(buy, arrivals("10/s").hold("20s")))
    assert [(one.name, round(one.weight, 6)) for one in plan.spec().journeys] == [
        ("browse", round(50 / 300, 6)),
        ("buy", round(250 / 300, 6)),
    ]


def test_a_closed_load_beside_an_open_one() -> None:
    spec = make(base(), Load(browse, users(8).hold("1m"), after="30s"), Load(browse, iterations(9, users=2))).spec()
    assert (spec.is_open, spec.total_arrivals, spec.duration_ns, spec.peak) == (False, None, None, 50)
    assert [spec.level_at(t * S) for t in (0, 30, 89, 90)] == [2, 10, 10, 2]


def test_the_rate_scales_all_loads_by_one_factor() -> None:
    plan = make(base(), spike()).with_overrides(Overrides(peak=25, peak_of="rate"))
    assert [lane.profile.peak for lane in plan.lanes] == [5, 20]
    assert plan.spec().peak == 25


def test_only_loads_of_the_kind_are_scaled() -> None:
    closed = Load(browse, users(8).hold("1m"))
    plan = make(base(), closed, Load(browse, iterations(9, users=2)))
    assert [lane.profile.peak for lane in plan.with_overrides(Overrides(peak=5, peak_of="users")).lanes] == [50, 4, 1]
    assert [lane.profile.peak for lane in plan.with_overrides(Overrides(peak=5)).lanes] == [5, 8, 2]
    assert messages(make(base(), spike()).with_overrides(Overrides(peak=5, peak_of="users"))) == [
        "the load has arrivals, which have a rate"
    ]


def test_the_duration_scales_beginnings_alike() -> None:
    plan = make(base(), spike()).with_overrides(Overrides(duration_s=10))
    assert [(lane.after_ns, lane.end_ns) for lane in plan.lanes] == [(0, 10 * S), (2 * S, 3 * S)]
    assert messages(make(base(), Load(browse, iterations(9))).with_overrides(Overrides(duration_s=10))) == [
        "a load of 9 iterations has no duration that could be set"
    ]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=5),
    st.integers(1, 1000),
)
def test_stretched_loads_keep_their_order_and_end_exactly(parts: list[tuple[int, int, int]], to_s: int) -> None:
    loads = [Load(browse, arrivals(rate).hold(length), after=after) for after, length, rate in parts]
    plan = make(*loads)
    lanes = plan.with_overrides(Overrides(duration_s=to_s)).lanes
    assert max(lane.end_ns or 0 for lane in lanes) == to_s * S
    before = [lane.after_ns for lane in plan.lanes]
    assert sorted(range(len(lanes)), key=lambda i: (lanes[i].after_ns, before[i])) == sorted(
        range(len(lanes)), key=lambda i: before[i]
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))))
def test_the_highest_sum_is_what_walking_through_time_finds(
    parts: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    profiles = [
        (after * 8, ArrivalProfile((*(Stage(a, b, 8) for a, b in stages), Stage(1, 1, 8)))) for after, stages in parts
    ]
    # In eighths of a stage, from just before its end to just after its beginning, no value is above.
    walked = [sum(one.rate_at(t - after) for after, one in profiles) for t in range(400)]
    highest = highest_sum(profiles)
    assert highest >= max(walked)
    assert highest - max(walked) <= sum(max(abs(s.end - s.start) for s in one.stages) / 8 for _, one in profiles)


def test_rows_of_a_shared_feed_are_dealt_lane_by_lane() -> None:
    plan = make(
        Load({browse: 3, buy: 1}, arrivals("10/s").hold("10s")),
        Load(give, users(7).hold("10s")),
        Load({buy: 1, give: 1}, iterations(12, users=3)),
    )
    assert [plan.row_offset(lane, buy) for lane in range(3)] == [0, 25, 32]
    assert plan.row_offset(2, give) == 32
    assert plan.row_offset(2, browse) == 0
    assert [(one.name, n) for one, n in rows_needed(plan)] == [("buy", 44)]


def test_rows_of_each_iteration_of_a_closed_load_have_no_known_end(tmp_path: Path) -> None:
    feed_of_all = 'feed.rows(["a", "b"]).unique()'
    path = browse_with(tmp_path, load="users(2).hold('1s')", mix="buy")
    text = path.read_text().replace(
        "plan = ",
        f"""@journey(data={feed_of_all}, each="iteration")
async def buy(user: User, row: str) -> None:
    await user.http.get("/")

plan = """,
    )
    path.write_text(text)
    (warning,) = load(path).warnings
    assert warning.message.startswith("a closed load takes a unique row per iteration")

    path.write_text(
        text.replace("load=users(2).hold('1s')", "loads=[L(buy, users(2).hold(1)), L(buy, users(2).hold(1))]")
        .replace("    mix=buy,\n", "")
        .replace("from loadgen", "from loadgen.dsl.plans.plan_loads import Load as L\nfrom loadgen")
    )
    with pytest.raises(ScenarioError, match="buy: its unique feed is shared with a closed load"):
        load(path)


def test_a_drawn_mix_has_a_row_for_each_arrival() -> None:
    plan = Plan("http://x", arrivals("10/s").hold("10s"), {browse: 3, buy: 1}, random=True)
    assert [(one.name, n) for one, n in rows_needed(plan)] == [("buy", 100)]


@pytest.mark.parametrize(
    ("loads", "changes", "told"),
    [
        ([spike(), spike()], {}, ['loads: two loads are named "spike"']),
        ([spike(after="-2m")], {}, ['after: invalid duration "-2m"; write "500ms", "10s", "2m", "1m30s" or "1h"']),
        ([spike(after=-1)], {}, ["after: invalid duration -1: must be finite and at least 0"]),
        ([spike(after=None)], {}, ["after: None is not a duration"]),
        ([spike(name=3)], {}, ["name: 3 is not the name of a load"]),
        ([spike(max_users=0)], {}, ["max_users: 0 is not a whole number of at least 1"]),
        ([Load(browse, "50/s")], {}, ["load: '50/s' is not a load"]),  # type: ignore[arg-type]
        ([Load(len, arrivals(5).hold(1))], {}, ["mix: len is not a journey"]),  # type: ignore[arg-type]
        ([Load(browse, arrivals("-5/s").hold(1))], {}, ["a rate must not be negative, got -5/s; write 0 or more"]),
        ([browse], {}, [f"loads: {browse!r} is not a Load"]),
        ([base()], {"load": arrivals(5).hold(1)}, ["loads: a plan has either load and mix, or loads"]),
        ([base()], {"mix": browse}, ["loads: a plan has either load and mix, or loads"]),
        ([], {"mix": browse}, ["load: the plan has no load"]),
        (
            [base()],
            {"warmup": "10m"},
            ["warmup: 10m is not shorter than the load, 10m, so nothing would be measured"],
        ),
        ([base() for _ in range(51)], {}, ["loads: 51 loads are more than 50"]),
        (
            [base()],
            {"slos": [p(95, journey="buy") < "1s"]},
            ['p(95, journey="buy") < 1s: the plan has no journey "buy"'],
        ),
    ],
)
def test_what_is_wrong_with_loads_is_told(loads: list[Any], changes: dict[str, Any], told: list[str]) -> None:
    plan = make(*loads, **changes)
    assert messages(plan) == told
    assert all(fault.hint for fault in plan.faults) or "after" in told[0] or "rate" in told[0]
    assert {fault.file for fault in plan.faults} == {__file__}
    with pytest.raises(ScenarioError):
        plan.spec()


def test_two_journeys_of_one_name_in_different_loads_are_a_fault() -> None:
    @journey(name="browse")
    async def other(user: User) -> None: ...

    assert messages(make(base(), Load(other, arrivals(5).hold(1)))) == ['loads: two journeys are named "browse"']


nonsense = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()),
    st.dictionaries(st.text(), st.floats()),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["mix", "load", "after", "name", "max_users"]), nonsense))
def test_no_load_raises(changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"mix": browse, "load": arrivals(5).hold(1)} | changes
    plan = make(Load(**arguments))
    if not plan.faults:
        plan.spec()


@pytest.mark.parametrize(
    ("loads", "steady_s"),
    [
        ([arrivals("5/s").hold("60s")], 0),
        ([arrivals().ramp(to="5/s", over="5s").hold("15s")], 5),
        ([arrivals("5/s").hold("10s").ramp(to="9/s", over="5s").hold("45s")], 15),
        ([users(3).hold("10s").ramp(to=0, over="5s")], 0),
        ([arrivals().ramp(to="5/s", over="50s").hold("10s")], 0),
        ([iterations(100, users=5)], 0),
        ([arrivals("5/s").hold("60s"), Load(browse, arrivals("1/s").hold("50s"), after="10s", name="late")], 10),
    ],
    ids=["hold", "ramp", "step up", "ramp down", "late ramp", "iterations", "second load"],
)
def test_load_is_steady_after_the_last_change_in_the_first_half(loads: list[Any], steady_s: int) -> None:
    several = [one if isinstance(one, Load) else Load(browse, one, name=f"load {n}") for n, one in enumerate(loads)]
    spec = make(*several).spec()
    assert spec.steady_ns(0, 60 * S if spec.duration_ns is None else spec.duration_ns) == steady_s * S
    assert spec.steady_ns(55 * S, 60 * S) == 55 * S, "never before the end of the warm-up"
