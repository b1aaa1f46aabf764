"""A run in sentences: of each result the whole of them, and no number that the summary does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.report.executive_summary import Story, story_of, targets_of
from loadgen.report.from_run_folder import document_of, verdict_of
from loadgen.report.report_tables import budget_text, milliseconds
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.summary_reader import Summary, read
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio
from tests.report.test_tables import series, summary
from tests.support.examples import examples

RUN = "20261124-170312-checkout-a1b2"
P95 = {
    "objective": "p(95) < 300ms",
    "journey": "checkout",
    "observed": 44.2,
    "unit": "ms",
    "count": 4000,
    "low": 41.0,
    "high": 47.5,
    "verdict": "passed",
    "margin": 0.8527,
    "budget": 0.12,
    "allowed": 0.05,
    "limit_ms": 300.0,
}


def told(**changes: Any) -> Story:
    return story_of(read(summary(**({"slos": [P95]} | changes))), targets=("https://shop.example",))


def test_run_that_passed() -> None:
    made = told(load={"text": "arrivals: hold 200/s for 20s", "open": True})

    assert made.tested == (
        "checkout.py was run against https://shop.example with the load arrivals: hold 200/s for 20s.",
        "2 agents generated the load from 2 regions: us-east-1 (simulated), eu-west-1 (simulated).",
        "The run took 20.0 s, starting at 2026-11-24T17:03:12.000Z.",
        "4,000 iterations were due, 4,000 finished; 12,000 requests finished, 3 of them with an error (0.025 %).",
    )
    assert made.headline.startswith("PASSED (exit code 0): 1 of 1 objective met")
    assert made.why == ()
    assert made.objectives == (
        "p(95) < 300ms of checkout passed: observed 44.2 ms (4,000 due); 85 % below the limit;"
        " 12 % of its error budget is used; 95 % interval 41.0 to 47.5 ms.",
    )
    assert made.means == (
        "Under this load the target met its objective.",
        "The most frequent failure was http 503 of POST /login in login: 3 of 4,000.",
        "The slowest request was POST /login in login: p50 12.5 ms, p95 44.2 ms, p99 80.0 ms over 4,000 requests.",
    )
    assert made.excludes == (
        "2 regions are simulated: all 2 agents ran on this machine, so no figure includes the network path from a real"
        " region to the target.",
        "This is a single run, so the variation between runs is unknown. Do not conclude from it alone that the target"
        " became faster or slower.",
    )
    assert made.next == (
        f"See the failed requests with their responses: loadgen failures {RUN}",
        f"Repeat the run with the same arrivals to see how much results vary: loadgen runs rerun {RUN}",
        f"Share the report as one file: loadgen report {RUN} -o report.html",
    )


def test_run_that_failed_says_which_objective_and_by_how_much() -> None:
    broken = P95 | {"verdict": "failed", "observed": 412.4, "margin": -0.3747, "budget": 2.4, "low": 290.0, "high": 431}
    windowed = {
        "objective": "error_ratio(window=1m) < 1%",
        "verdict": "failed",
        "observed": 0.12,
        "unit": "ratio",
        "count": 1200,
        "budget": 12.0,
        "window_s": 60.0,
        "windows": 541,
        "windows_failed": 31,
        "worst_window_s": 412.0,
    }
    made = told(
        result="failed",
        exit_code=1,
        reasons=["SLO p(95) < 300ms of checkout failed: observed 412.4 ms of 4,000 that were due"],
        slos=[broken, windowed],
        placement="fleet",
    )

    assert made.objectives == (
        "p(95) < 300ms of checkout failed: observed 412 ms (4,000 due); 37 % above the limit;"
        " 240 % of its error budget is used; 95 % interval 290 to 431 ms.",
        "error_ratio(window=1m) < 1% failed: 31 of 541 windows of 1m broke the limit; in the worst window, from 412 s"
        " on, 12.0 % failed (1,200 due); 1,200 % of its error budget is used.",
    )
    assert made.means[:2] == (
        "Under this load the target did not meet 2 of 2 objectives.",
        "The limit of p(95) < 300ms of checkout lies within its 95 % interval, 290 to 431 ms: a repeated run may get"
        " the other verdict.",
    )
    assert not [text for text in made.excludes if "simulated" in text]


@pytest.mark.parametrize(("limit", "is_within"), [(0.05, True), (0.2, False)])
def test_the_limit_of_a_mean_is_compared_with_its_interval_in_its_own_unit(limit: float, is_within: bool) -> None:
    score = {
        "objective": f'mean(request="page /", metric="cls") < {limit}',
        "verdict": "passed",
        "observed": 0.04,
        "unit": "",
        "count": 30,
        "limit": limit,
        "low": -0.01,
        "high": 0.09,
        "detail": "mean of 30 pages: 0.04",
    }
    assert ("lies within its 95 % interval" in " ".join(told(slos=[score]).means)) == is_within


def test_percentile_among_failures_is_told_as_such_and_not_as_slowness() -> None:
    made = told(result="failed", exit_code=1, slos=[P95 | {"verdict": "failed", "observed": "> 300.0", "margin": None}])

    assert (
        "observed > 300 ms (4,000 due); this percentile falls on iterations that did not end ok" in (made.objectives[0])
    )
    assert made.means[0] == "Under this load the target did not meet its objective."


def test_run_that_is_incomplete_names_what_is_missing() -> None:
    lost = "agent eu: no data from 4 s to 14 s: killed"
    made = told(
        result="incomplete",
        exit_code=3,
        reasons=[lost, "SLO p(95) < 300ms of checkout is inconclusive: data are missing"],
        slos=[P95 | {"verdict": "inconclusive", "reason": "data are missing", "margin": None, "budget": None}],
        agents=[
            {"id": "us", "region": "us-east-1", "complete": True},
            {"id": "eu", "region": "eu-west-1", "complete": False, "missing": lost},
        ],
        missing_share=0.25,
        placement="fleet",
    )

    assert made.headline.startswith(f"INCOMPLETE (exit code 3): {lost}; SLO p(95)")
    assert made.objectives == (
        "p(95) < 300ms of checkout is inconclusive: data are missing; observed: 44.2 ms (4,000 due).",
    )
    assert made.means[0] == "The run neither passed nor failed: the figures lack 25.0 % of the planned load."
    assert made.excludes[:2] == (
        "Measurements of 1 of 2 agents are missing (25.0 % of the planned load).",
        "Agent eu: no data from 4 s to 14 s: killed.",
    )
    assert f"Repeat the run and let it finish: loadgen runs rerun {RUN}" in made.next


UNFIT = "agent us was unfit to measure in 4 of 6 intervals (66.7 %, 1 s to 5 s): loop lag p99 14 ms"
ADVICE = "add 2 agents in us-east-1, or workers: one agent was fit up to 45.0/s"


def test_run_that_is_invalid_judges_nothing_and_gives_the_advice() -> None:
    made = told(
        result="invalid",
        exit_code=4,
        reasons=[UNFIT],
        validity={"verdict": "invalid", "reasons": [UNFIT], "advice": [ADVICE, "raise the limit (ulimit -n 99)"]},
        agents=[{"id": "us", "region": "us-east-1", "complete": True, "unfit_intervals": 4, "intervals": 6}],
    )

    assert made.headline == f"INVALID (exit code 4): {UNFIT}."
    assert made.why == (), "the headline has it"
    assert made.objectives[0].startswith("p(95) < 300ms of checkout is not judged: observed 44.2 ms")
    assert made.means[0].startswith("The load generator could not measure correctly.")
    assert not [text for text in made.means if "slowest" in text]
    assert not [text for text in made.excludes if text.startswith("Agent us")], "the reasons have it"
    assert "Add 2 agents in us-east-1, or workers, then: loadgen run checkout.py" in made.next
    assert f"Raise the limit (ulimit -n 99), then: loadgen runs rerun {RUN}" in made.next


def test_run_that_is_suspect_says_so_beside_its_verdict() -> None:
    made = told(validity={"verdict": "suspect", "reasons": [UNFIT], "advice": []})

    assert made.result == "suspect"
    assert made.headline.startswith("PASSED (exit code 0), but SUSPECT: 1 of 1 objective met over ")
    assert made.headline.endswith(f"; {UNFIT}.")
    assert made.why == (), "the headline has it"
    assert made.means[:2] == (
        "Under this load the target met its objective.",
        "The load generator may not have measured correctly all of the time: the response times may include its own"
        " delays.",
    )


def test_run_that_was_interrupted_is_told_up_to_then() -> None:
    made = told(result="interrupted", exit_code=130, reasons=["interrupted by Ctrl-C"], duration_s=12.0)

    assert made.headline == "INTERRUPTED (exit code 130): interrupted by Ctrl-C."
    assert made.means[0] == "The run was stopped after 12.0 s; the figures cover the time until then."


def test_run_that_never_began_has_no_figures_and_says_nothing_of_the_target() -> None:
    made = told(
        result="error",
        exit_code=5,
        reasons=["no agent came"],
        requests={"started": 0, "finished": 0, "errors": 0},
        iterations={"due": 0, "started": 0, "finished": 0, "missed": 0, "cut_off": 0},
        slos=[],
        series=[],
        agents=[],
        duration_s=0.0,
    )

    assert made.tested == ("checkout.py was run against https://shop.example.",)
    assert (made.headline, made.why) == ("ERROR (exit code 5): no agent came.", ())
    assert made.means == ("The run ended with an error, so it gives no verdict about the target.",)
    assert made.excludes == ()
    assert made.next[0] == "Try each journey once: loadgen check checkout.py"


def test_the_story_names_the_ai_model_beside_the_target() -> None:
    llm = {"model": "qwen3-8b", "requests": 4, "ok": 4}

    assert told(llm=llm).tested[0] == "checkout.py was run against https://shop.example, model qwen3-8b."
    with_load = told(llm=llm, load={"text": "users: hold 2 for 3s", "open": False})
    assert with_load.tested[0] == (
        "checkout.py was run against https://shop.example, model qwen3-8b, with the load users: hold 2 for 3s."
    )
    assert told(llm=llm | {"model": ""}).tested[0] == "checkout.py was run against https://shop.example."


def test_run_without_objectives_claims_none() -> None:
    made = told(slos=[])

    assert made.objectives == ()
    assert made.means[0].startswith("The plan sets no objectives")
    assert "Set slos=[...] in the plan, then: loadgen run checkout.py" in made.next


def test_all_that_the_verdict_leaves_out_is_said_with_counts() -> None:
    made = told(
        load={"text": "users: hold 64 for 10s", "open": False},
        warmup={"cut_s": 30.0, "how": "found", "why": "x", "series": [series("journey", None, None, count=600)]},
        pool_limited={"requests": 300, "share": 0.025, "add_users": True},
        iterations={"due": 9, "started": 9, "finished": 9, "missed": 0, "cut_off": 0, "skipped": 4, "script_faults": 2},
        series=[series("journey", None, None, interval="too few samples")],
        slos=[P95 | {"low": None, "high": None}, P95 | {"low": None, "high": None, "objective": "p(99) < 1s"}],
        adjustments=[{"at_s": 1.0, "kind": "scale", "text": "scaled by 1.5"}],
    )

    assert made.excludes[1:-1] == (
        "The load is closed: its rate follows the target. A slow target received fewer requests, and waiting times"
        " before a request are not measured.",
        "The first 30.0 s (600 iterations) are warm-up, detected after the run; objectives do not count them.",
        "There is no 95 % interval for p(95) < 300ms of checkout (4,000), p(99) < 1s of checkout (4,000): too few"
        " samples.",
        "300 requests (2.50 %) came from iterations that had waited for a free user. Times of journeys include this"
        " wait, times of steps and requests do not.",
        "2 iterations ended with an error in the scenario; objectives do not count them.",
        "The scenario skipped 4 iterations; objectives do not count them.",
        "The load was changed 1 time during the run, so it is not the planned load.",
    )
    assert "Raise max_users in the plan, then: loadgen run checkout.py" in made.next


def test_an_objective_that_nearly_used_its_budget_is_named() -> None:
    made = told(slos=[P95 | {"budget": 0.93}])

    assert "p(95) < 300ms of checkout passed, but 93 % of its error budget is used." in made.means


def test_targets_come_from_the_manifest_the_default_first() -> None:
    spec = {"target": "https://a", "targets": {"": "https://a", "login": "https://b"}}
    assert targets_of({"spec": spec}) == ("https://a", "https://b")
    assert targets_of({}) == targets_of({"spec": None}) == ()


@pytest.mark.parametrize("name", ["20261124-browse-format-1", "20261125-phases-format-1"])
def test_older_summaries_are_told(name: str) -> None:
    found = read(Path(__file__).parents[1] / "data" / "runs" / name / "summary.json")
    assert_only_known_numbers(found)


def test_document_of_a_run_tells_its_story_whoever_makes_it() -> None:
    run = open_run(Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1")
    assert run.summary is not None
    verdict = document_of(run)["verdict"]

    assert isinstance(verdict, dict)
    words = story_of(run.summary, targets=targets_of(run.manifest)).as_words()
    assert {name: verdict[name] for name in words} == words
    assert "against http://127.0.0.1:42709" in verdict["sentences"][0]
    assert verdict_of(run.summary)["excludes"] == verdict["excludes"] != []


# -- no number that is not in the summary ---------------------------------------------------------------

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list | tuple):
        yield len(value)
        for one in value:
            yield from leaves(one)
    else:
        yield value


def numbers_of(found: Summary) -> set[str]:
    """Every number of the summary in each of the ways in which numbers are written; how many of a thing there are; and
    the share of requests that were errors."""
    known = {"95"}  # of "95 % interval"
    texts = ["p50 p95 p99"]
    plain = msgspec.to_builtins(found)
    verdicts = [slo.verdict for slo in found.slos]
    counted = [
        *map(verdicts.count, ("passed", "failed")),
        len({agent.region for agent in found.agents}),
        sum(not agent.complete for agent in found.agents),
        max(0, len(found.reasons) - 1),
    ]
    share = found.requests.errors / found.requests.finished if found.requests.finished else 0
    for leaf in (*leaves(plain), *counted, share):
        if isinstance(leaf, str):
            texts.append(leaf)
            texts.append(milliseconds(leaf))
        elif isinstance(leaf, int | float):
            near = abs(leaf)
            texts += [format_count(round(near)), milliseconds(near), format_ratio(near), f"{near * 100:.0f}"]
            texts += [budget_text(near), format_duration(near * NS_PER_S), f"{near:,.0f}"]
    return known | {number for text in texts for number in NUMBER.findall(text)}


def assert_only_known_numbers(found: Summary) -> None:
    made = story_of(found)
    known = numbers_of(found)
    for sentence in (*made.tested, *made.objectives, *made.why, *made.means, *made.excludes, *made.next):
        strange = [number for number in NUMBER.findall(sentence) if number not in known]
        assert not strange, (sentence, strange)


COUNTS = st.integers(0, 10**7)
SHARES = st.floats(0, 30)
FIGURES = st.one_of(st.none(), st.floats(0.001, 1e6), st.floats(1, 1e6).map(lambda ms: f"> {ms:.1f}"))
VERDICTS = st.sampled_from(["passed", "failed", "inconclusive"])
SLOS = st.fixed_dictionaries(
    {
        "objective": st.sampled_from(["p(95) < 300ms", "error_ratio() < 0.1%"]),
        "journey": st.sampled_from([None, "checkout"]),
        "verdict": VERDICTS,
        "observed": FIGURES,
        "unit": st.sampled_from(["ms", "ratio"]),
        "count": COUNTS,
        "low": FIGURES,
        "high": FIGURES,
        "margin": st.one_of(st.none(), st.floats(-50, 1)),
        "budget": st.one_of(st.none(), SHARES),
        "limit_ms": st.one_of(st.none(), st.just(300.0)),
        "window_s": st.one_of(st.none(), st.floats(1, 7200)),
        "windows": COUNTS,
        "windows_failed": COUNTS,
        "worst_window_s": st.one_of(st.none(), st.floats(0, 1e5)),
        "reason": st.just(""),
    }
)
AGENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b-7"]),
        "region": st.sampled_from(["eu", "us-1"]),
        "complete": st.booleans(),
        "unfit_intervals": COUNTS,
        "intervals": COUNTS,
    }
)
RESULTS = st.sampled_from(["passed", "failed", "incomplete", "invalid", "interrupted", "error"])
SUMMARIES = st.fixed_dictionaries(
    {
        "result": RESULTS,
        "exit_code": st.integers(0, 130),
        "duration_s": st.floats(0, 1e5),
        "requests": st.fixed_dictionaries({"started": COUNTS, "finished": COUNTS, "errors": COUNTS}),
        "iterations": st.fixed_dictionaries(
            {"due": COUNTS, "finished": COUNTS, "errors": COUNTS, "skipped": COUNTS, "script_faults": COUNTS}
        ),
        "slos": st.lists(SLOS, max_size=4),
        "agents": st.lists(AGENTS, max_size=4),
        "missing_share": st.floats(0, 1),
        "placement": st.sampled_from(["embedded", "fleet"]),
        "load": st.fixed_dictionaries({"text": st.just("hold 200/s"), "open": st.booleans()}),
        "pool_limited": st.fixed_dictionaries(
            {"requests": COUNTS, "share": st.floats(0, 1), "add_users": st.booleans()}
        ),
        "warmup": st.one_of(st.none(), st.fixed_dictionaries({"cut_s": st.floats(0, 1e4)})),
    }
)


@settings(max_examples=examples(200), deadline=None)
@given(SUMMARIES)
def test_no_sentence_has_a_number_that_is_not_in_the_summary(changes: dict[str, Any]) -> None:
    assert_only_known_numbers(read(summary(**changes)))
