"""What a plan will need is arithmetic, held against counting and simulation."""

from __future__ import annotations

import gzip
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from loadgen import MooncakeRow, feed
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.engine.load.share import Share
from loadgen_controller.planning.forecast import Forecast, RowsOf, Tried, detectable, forecast, lines
from loadgen_controller.planning.token_forecast import tokens_of
from tests.support.scenarios import HEAD, write

SOURCE = """
from loadgen import Load, Plan, User, arrivals, iterations, journey, p, search, users


@journey
async def browse(user: User) -> None:
    await user.http.get("/")


@journey
async def buy(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:1", {load}, slos=[p(95) < "300ms"], regions={{"us": 0.6, "eu": 0.4}})
"""


def spec_of(folder: Path, load_text: str) -> PlanSpec:
    return load(write(folder, SOURCE.format(load=load_text))).plan.spec()


def test_iterations_of_each_journey_are_those_that_the_agents_will_start(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=arrivals("7/s").hold("11s"), mix={browse: 2, buy: 1}')
    share = Share.of(0, [1.0], [2, 1])
    _, journeys = share.block(0, 77)
    assert forecast(spec).by_journey == {"browse": int((journeys == 0).sum()), "buy": int((journeys == 1).sum())}
    assert forecast(spec).iterations == 77


def test_users_follow_from_littles_law(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=arrivals("40/s").hold("10s"), mix={browse: 3, buy: 1}')
    tried = [Tried("browse", 2, 0.5, 1.5), Tried("buy", 6, 1.0, 3.0)]
    found = forecast(spec, tried)
    assert found.users == 40 * (0.75 * 2 + 0.25 * 4)
    assert found.peak_requests_per_s == 40 * (0.75 * 2 + 0.25 * 6)
    assert found.requests == 300 * 2 + 100 * 6


def test_the_rate_of_a_paced_load_is_known_without_a_trial(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=users(30).hold("10s").pace("2s"), mix=browse')
    assert forecast(spec).peak_per_s == 15
    assert "paced      15.0/s iterations at the peak, if none takes longer than the pace" in list(
        lines(spec, forecast(spec), ())
    )
    assert forecast(spec, [Tried("browse", 2, 0.5, 1.0)]).peak_requests_per_s == 30
    assert forecast(spec, [Tried("browse", 2, 2.5, 0.5)]).peak_per_s == 10  # slower than its pace


def test_a_drain_shorter_than_an_iteration_of_the_trial_is_shown(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=arrivals("1/s").hold("10s"), mix=browse')
    found = forecast(spec)
    (shown,) = (one for one in lines(spec, found, (), [Tried("browse", 1, 44.2, 0.0)]) if one.startswith("drain"))
    cut = "30.0 s is shorter than an iteration of browse: the end of the load cuts its last ones off"
    assert shown.endswith(f'{cut}; write drain="45s" or longer')
    assert not [one for one in lines(spec, found, (), [Tried("browse", 1, 29, 9)]) if one.startswith("drain")]


@pytest.mark.parametrize(
    "load_text",
    ['load=users(10**6).hold("1m").pace("10s"), mix=browse', "load=iterations(per_user=5, users=10**6), mix=browse"],
)
def test_a_million_users_need_a_hundred_agents(tmp_path: Path, load_text: str) -> None:
    found = forecast(spec_of(tmp_path, load_text), [Tried("browse", 1, 0.5, 4.5)])
    assert found.users == 10**6
    assert found.agents == {"us": 60, "eu": 40}


def test_how_many_arrive_by_chance_is_about_so_many_until_the_seed_is_known(tmp_path: Path) -> None:
    load = 'load=arrivals("100/s").hold("100s").poisson(), mix=browse'
    spec = spec_of(tmp_path, load)
    found = forecast(spec)
    assert "iterations in all: about 10,000, give or take 100 from run to run" in list(lines(spec, found, ()))
    totals = [spec_of(tmp_path, f"{load}, seed={seed}").total_arrivals or 0 for seed in range(40)]
    assert 60 < stdev(totals) < 150
    spec = spec_of(tmp_path, f"{load}, seed=3")
    assert f"iterations in all: {forecast(spec).iterations:,}" in list(lines(spec, forecast(spec), ()))


def test_another_seed_may_give_an_authors_executor_other_arrivals(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        from collections.abc import Iterator
        from loadgen import OpenExecutor

        class Sale(OpenExecutor):
            def due(self, seed: int) -> Iterator[float]:
                yield from (k / 10 for k in range(100 + seed))
        """,
        "sale.py",
    )
    imported = 'load=__import__("sale").Sale(), mix=browse'
    spec = spec_of(tmp_path, imported)
    assert "iterations in all: about 100" in list(lines(spec, forecast(spec), ()))
    spec = spec_of(tmp_path, f"{imported}, seed=3")
    assert "iterations in all: 103" in list(lines(spec, forecast(spec), ()))
    assert forecast(spec).peak_per_s == 10


def test_the_rate_of_a_closed_load_follows_the_target(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=users(30).hold("10s"), mix=browse')
    found = forecast(spec, [Tried("browse", 2, 0.5, 1.0)])
    assert (found.users, found.peak_per_s, found.peak_requests_per_s) == (30, 20, 40)
    assert forecast(spec).peak_per_s is None


def test_several_loads_add_up(tmp_path: Path) -> None:
    loads = (
        'Load(browse, arrivals("10/s").hold("10s")), Load(buy, arrivals("20/s").hold("2s"), after="4s", name="spike")'
    )
    spec = spec_of(tmp_path, f"loads=[{loads}]")
    found = forecast(spec)
    assert (found.iterations, found.by_journey, found.peak_per_s) == (140, {"browse": 100, "buy": 40}, 30)
    text = "\n".join(lines(spec, found, []))
    assert "spike: " in text
    assert "after 4.00 s" in text


def test_without_a_trial_the_text_is_the_same_each_time(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=arrivals("40/s").hold("10s"), mix=browse')
    first, second = (list(lines(spec, forecast(spec), [RowsOf("browse", "rows.csv", 400, 300)])) for _ in range(2))
    assert first == second
    assert "rows       browse: rows.csv: 400 needed, 300 available: 100 MISSING" in first
    assert str(tmp_path) not in "\n".join(first)


def test_shares_of_regions_bring_agents(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=arrivals("10000/s").hold("10s"), mix=browse')
    found: Forecast = forecast(spec, [Tried("browse", 4, 0.1, 0.0)])
    assert found.agents == {"us": 3, "eu": 2}


@pytest.mark.parametrize(("q", "n"), [(50, 400), (95, 2_000), (99, 5_000)])
def test_the_change_that_is_detectable_is_detected_in_four_of_five_pairs_of_runs(q: float, n: int) -> None:
    change = detectable(q, n)
    assert change is not None
    random = np.random.default_rng(11)

    def log_quantiles(shift: float) -> np.ndarray:
        values = random.normal(0, 0.5, size=(1_000, n)) + random.normal(shift, np.log(1.02), size=(1_000, 1))
        return np.quantile(values, q / 100, axis=1)

    null = log_quantiles(0) - log_quantiles(0)
    critical = np.quantile(np.abs(null), 0.95)
    found = np.abs(log_quantiles(np.log(1 + change)) - log_quantiles(0)) > critical
    assert 0.74 <= found.mean() <= 0.86


def test_too_few_values_detect_nothing() -> None:
    assert detectable(99.9, 9_000) is None
    assert detectable(95, 2_000) is not None


def test_the_counts_of_a_steered_load_are_not_known_beforehand_and_its_peak_is_the_highest_rate(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'load=search(p(99) < "300ms", start="20/s", upto="320/s"), mix=browse')
    tried = [Tried("browse", 2, 0.05, 0.0)]
    found = forecast(spec, tried)

    assert (found.iterations, found.by_journey, found.requests) == (None, {}, None)
    assert (found.peak_per_s, found.peak_requests_per_s, found.users) == (320, 640, 16)
    assert forecast(spec).peak_per_s == 320
    told = list(lines(spec, found, (), tried))
    assert "iterations up to 320/s; number not known beforehand" in told
    assert "estimate   requests: up to 640/s; number not known beforehand" in told
    assert "estimate   up to 16 users at the peak (Little's law: rate × (response + think))" in told
    assert "duration   at most 1h, and up to 30.0 s to drain" in told


AZURE = Path(__file__).parents[1] / "data" / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"
REPLAYED = """
from dataclasses import dataclass
from loadgen import Plan, User, feed, journey, replay

@dataclass(frozen=True)
class Traced:
    ContextTokens: int
    GeneratedTokens: int

@journey(data=feed.csv("azure.csv.gz", Traced))
async def traced(user: User, row: Traced) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", load=replay.timestamps("azure.csv.gz", column="TIMESTAMP"), mix=traced)
"""


def test_a_replay_of_a_trace_shows_how_bursty_it_is(tmp_path: Path) -> None:
    (tmp_path / "azure.csv.gz").write_bytes(AZURE.read_bytes())
    spec = load(write(tmp_path, REPLAYED)).plan.spec()

    found = list(lines(spec, forecast(spec), []))

    assert "load       arrivals: replay of azure.csv.gz: 19,366 in 58m22s, at most 11.33/s" in found
    assert "gaps       coefficient of variation 1.09 (1 for Poisson arrivals, 0 for even ones)" in found


def test_the_tokens_of_a_trace_are_those_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "azure.csv.gz").write_bytes(AZURE.read_bytes())
    (journey,) = load(write(tmp_path, REPLAYED)).plan.journeys
    assert journey.feed is not None
    rows = [line.split(",") for line in gzip.decompress(AZURE.read_bytes()).decode().splitlines()[1:]]

    assert tokens_of(journey.feed, 19_366) == (sum(int(row[1]) for row in rows), sum(int(row[2]) for row in rows))
    assert tokens_of(journey.feed, 3) == (sum(int(row[1]) for row in rows[:3]), sum(int(row[2]) for row in rows[:3]))
    assert tokens_of(journey.feed, 0) is None
    assert tokens_of(feed.rows(["red", "oak"]), 2) is None


def test_more_uses_than_are_read_are_estimated() -> None:
    assert tokens_of(feed.rows([MooncakeRow(input_length=3, output_length=2)]), 250_000) == (750_000, 500_000)


TRACED = [
    ('trace="1%"', "about 30 sampled iterations above p99; 30 are needed"),
    ('trace="0.1%"', 'about 3 sampled iterations above p99; 30 are needed: write trace="1%" or more'),
    ('trace="1%", slos=[p(99.9) < "5s"]', 'p99.9; 30 are needed: write trace="10%" or more'),
    ('trace="1%", warmup="900s"', 'about 3 sampled iterations above p99; 30 are needed: write trace="10%" or more'),
    ('trace="1%", slos=[p(99.999) < "5s"]', "30 are needed: the load is too small or too short"),
    ('trace="3/s"', "about 30 sampled iterations above p99; 30 are needed"),
    ('trace="2/s"', 'about 20 sampled iterations above p99; 30 are needed: write sample="3/s" or more'),
    ('trace="900/s"', "about 3,000 sampled iterations above p99; 30 are needed"),
    (
        'trace=Trace("2/s", boost="20%")',
        '20 sampled iterations above p99 (with the boost at most 600); 30 are needed: write sample="3/s" or more',
    ),
]


@pytest.mark.parametrize(("more", "said"), TRACED)
def test_the_plan_says_how_many_slow_traces_there_will_be(more: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    head = HEAD.replace("import Plan", "import Plan, Trace")
    path.write_text(
        head + f'plan = Plan("http://127.0.0.1:1", arrivals("300/s").hold("1000s"), browse, drain="30s", {more})\n'
    )
    spec = load(path).plan.spec()
    (text,) = [one for one in lines(spec, forecast(spec), ()) if one.startswith("traces")]
    assert text.startswith("traces     browse: ")
    assert text.endswith(said)


def test_the_plan_says_that_calls_one_by_one_are_of_no_use_for_journeys(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    head = HEAD.replace("import Plan", "import Plan, Trace")
    path.write_text(
        head + 'plan = Plan("http://127.0.0.1:1", arrivals("3/s").hold("1s"), browse, trace=Trace(1, per="request"))\n'
    )
    spec = load(path).plan.spec()
    assert [one for one in lines(spec, forecast(spec), ()) if one.startswith("traces")] == [
        'traces     calls are sampled one by one, so no iteration is whole; write per="iteration"'
    ]
    assert forecast(spec).slow_traces == {}


def test_a_rate_samples_all_while_the_load_is_below_it(tmp_path: Path) -> None:
    """The load rises from 0 to 200/s in 100 s. Up to 100/s all are sampled, then 100/s: 7,500 of 10,000."""
    path = tmp_path / "shop.py"
    load_ = 'arrivals("0/s").ramp(to="200/s", over="100s")'
    path.write_text(HEAD + f'plan = Plan("http://127.0.0.1:1", {load_}, browse, drain="30s", trace="100/s")\n')
    spec = load(path).plan.spec()
    assert forecast(spec).slow_traces["browse"] == pytest.approx(75, rel=0.01)


def test_an_unusual_limit_of_a_time_or_a_score_is_shown_in_words(tmp_path: Path) -> None:
    text = SOURCE.format(load='load=arrivals("7/s").hold("11s"), mix=browse')
    slos = 'p(75, request="GET /", metric="cls") < 0.1, p(75, request="GET /", metric="cls") > 0.1, p(75) > "1s"'
    spec = load(write(tmp_path, text.replace('p(95) < "300ms"', slos))).plan.spec()
    shown = [one.removeprefix("objective").strip() for one in lines(spec, forecast(spec), ()) if "p(75" in one]
    assert shown == [
        'p(75, request="GET /", metric="cls") < 0.1',
        'p(75, request="GET /", metric="cls") > 0.1  (unusual: it fails if the score is at or below the limit)',
        "p(75) > 1s  (unusual: it fails if the time is at or below the limit)",
    ]
