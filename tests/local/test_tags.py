"""Tags of users, steps, requests and loads in one share of a plan: every value is in exactly one series."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import OTHER, Kind, SeriesKey, Tags
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import write

pytestmark = pytest.mark.quiet

MS = 1_000_000

SCENARIO = """
from loadgen import Load, Plan, User, iterations, journey, tag

tenant = tag("tenant", "gold", "free")
kind = tag("kind", "first", "more")
unused = tag("unused", "x")

@journey
async def shop(user: User) -> None:
    n = user.random.randrange(3)
    await user.http.get("/", name="home")
    async with user.step("pay", tags={kind: "more"}):
        user.tag(tenant, ["gold", "free", "platinum"][n])
        user.tag(unused, "x")
        user.note(order=f"o-{n}")
        await user.http.get("/", name="cart")
        await user.http.get("/", name="cart", tags={"kind": "first"})
    await user.http.get("/", name="home")

plan = Plan(target="http://127.0.0.1:1", tags=[tenant, kind], loads=[
    Load(shop, iterations(30, users=3), name="day"),
    Load(shop, iterations(6, users=2), name="spike", tags={"phase": "spike"}),
])
other = Plan(target="http://127.0.0.1:1", tags=[tenant, unused], load=iterations(1), mix=shop)
"""


async def driven(folder: Path, text: str) -> list[Delta]:
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as shop:
        scenario = load(write(folder, text), "plan", overrides=Overrides(target=shop.url))
        await Drive(scenario, seed=7, interval_ns=100 * MS, emit=deltas.append).run(perf_counter_ns() + 20 * MS)
    return deltas


def counts(deltas: list[Delta], kind: Kind) -> Counter[tuple[str, Tags]]:
    """How many response times each (name, tags) has."""
    keys: list[SeriesKey] = []
    found = Counter[tuple[str, Tags]]()
    for delta in deltas:
        keys += delta.new_series
        for one in delta.stats:
            key = keys[one.series]
            if key.kind == kind and key.metric == "response":
                found[key.request or key.step or key.journey, key.tags] += one.n
    return found


async def test_a_tag_holds_from_its_call_to_the_end_of_the_iteration(tmp_path: Path) -> None:
    deltas = await driven(tmp_path, SCENARIO)
    journeys, steps, requests = (counts(deltas, kind) for kind in ("journey", "step", "request"))
    day = (("load", "day"),)
    assert {tags for _, tags in journeys} == {
        (*load_tags, ("tenant", value))
        for load_tags in (day, (("load", "spike"), ("phase", "spike")))
        for value in ("gold", "free", OTHER)
    }
    assert sum(n for (_, tags), n in journeys.items() if ("load", "day") in tags) == 30
    # A step that was open at the call has the tag, too; its own tags end with it.
    for value in ("gold", "free", OTHER):
        n = journeys["shop", (*day, ("tenant", value))]
        assert steps["pay", (*day, ("tenant", value), ("kind", "more"))] == n
        assert requests["cart", (*day, ("tenant", value), ("kind", "more"))] == n
        assert requests["cart", (*day, ("tenant", value), ("kind", "first"))] == n
        assert requests["home", (*day, ("tenant", value))] == n
    assert requests["home", day] == 30
    notes = [note for delta in deltas for note in delta.health.notes]
    assert notes == ['tag tenant: values that are not declared are in (other), such as "platinum"']


async def test_exemplars_have_the_notes_of_their_iteration(tmp_path: Path) -> None:
    deltas = await driven(tmp_path, SCENARIO)
    exemplars = [one for delta in deltas for one in delta.exemplars]
    assert {one.note for one in exemplars if one.request == "cart"} <= {f'{{"order": "o-{n}"}}' for n in range(3)}
    assert {one.note for one in exemplars if not one.request and not one.step} <= {
        f'{{"order": "o-{n}"}}' for n in range(3)
    }
    assert "" in {one.note for one in exemplars if one.request == "home"}


WINDOWED = """
from loadgen import Plan, User, any_of, error_ratio, iterations, journey, none_of, p, tag, throughput

tenant = tag("tenant", "gold", "free")

@journey
async def shop(user: User) -> None:
    await user.http.get("/search?q=red", name="find")
    async with user.step("pay"):
        user.tag(tenant, ["gold", "free"][user.random.randrange(2)])
        await user.http.get("/search?q=red", name="find")

plan = Plan(target="http://127.0.0.1:1", tags=[tenant, "header:x-cache"], load=iterations(40, users=4), mix=shop, slos=[
    p(95, tags={tenant: "gold"}, window="1s") < "10s",
    p(95, step="pay", tags={tenant: "gold"}, window="1s") < "10s",
    p(95, request="find", tags={tenant: none_of("gold")}, window="1s") < "10s",
    error_ratio(request="find", tags={"x-cache": "hit"}, window="1s") < "5%",
    error_ratio(request="find", tags={"x-cache": any_of("miss", "(none)")}, window="1s") < "5%",
    throughput("requests", tags={tenant: "free"}, window="1s") > "1/s",
])
"""


async def test_windows_by_tag_count_what_the_histograms_of_the_tag_count(tmp_path: Path) -> None:
    deltas = await driven(tmp_path, WINDOWED)
    counted = Counter[int]()
    for delta in deltas:
        for one in delta.due:
            counted[one.objective] += one.good + one.bad
    assert not any(one.overdue or one.undecided for one in deltas[-1].due)

    def n(kind: Kind, name: str, *without: tuple[str, str], **tags: str) -> int:
        wanted = {name.replace("_", "-"): value for name, value in tags.items()}
        return sum(
            count
            for (of, has), count in counts(deltas, kind).items()
            if of == name and wanted.items() <= dict(has).items() and not set(without) & set(has)
        )

    hits = n("request", "find", x_cache="hit")
    assert 0 < hits < 80
    assert counted == {
        0: n("journey", "shop", tenant="gold"),
        1: n("step", "pay", tenant="gold"),
        2: n("request", "find", ("tenant", "gold")),
        3: hits,
        4: 80 - hits,
        5: n("request", "find", tenant="free"),
    }
