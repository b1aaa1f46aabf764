"""The first lines of a report: title, owner, and a result that needs no knowledge of load tests."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.report.front_page import Cover, cover_of, plain_sentence
from loadgen.report.limit_found import limit_found
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import Summary, read
from loadgen.report.verdict_words import headline
from tests.report.test_story import P95
from tests.report.test_tables import summary

KNEE = {
    "load": "",
    "verdict": "found",
    "text": "the knee of p(99) < 300ms is at 79.9/s (90 % interval 75.9/s to 81.8/s)",
    "objectives": ["p(99) < 300ms"],
    "rate_per_s": 79.9,
    "low": 75.9,
    "high": 81.8,
    "held_per_s": None,
}
FAILED = {"result": "failed", "exit_code": 1}
RATE = P95 | {
    "objective": 'throughput() > "100/s"',
    "observed": 24.1,
    "unit": "/s",
    "low": None,
    "high": None,
    "allowed": 0.0,
    "limit_ms": None,
    "detail": "24.1/s: 482 iterations in 20.0 s",
}
MEAN = P95 | {"allowed": 0.0, "detail": "mean of 4,000 iterations: 44.2 ms"}


def of(**changes: Any) -> Summary:
    return read(summary(**({"slos": [P95]} | changes)))


def test_the_caller_comes_before_the_plan_and_the_plan_before_the_settings() -> None:
    given, default = Cover("Given", "Ann"), Cover("Default", "Team")
    plan = {"scenario": "shop.py", "plan": "plan", "doc": "The shop.", "owner": "Bob", "labels": {"title": "Label"}}

    assert cover_of(**plan, given=given, default=default) == given  # type: ignore[arg-type]
    assert cover_of(**plan, default=default) == Cover("Label", "Bob")  # type: ignore[arg-type]
    assert cover_of(scenario="shop.py", plan="plan", doc="The shop.", default=default) == default


@pytest.mark.parametrize(
    ("doc", "plan", "title"),
    [
        ("The shop.", "plan", "The shop"),
        ("The shop.", "spike", "The shop (spike)"),
        ("", "plan", "shop.py"),
        ("", "spike", "shop.py (spike)"),
    ],
)
def test_without_a_title_the_docstring_or_the_file_is_the_title(doc: str, plan: str, title: str) -> None:
    assert cover_of(scenario="shop.py", plan=plan, doc=doc) == Cover(title, "")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "The target was fast enough: 95 of 100 iterations of checkout took at most 44.2 ms, and 300 ms is the"
            " limit; 3 of 12,000 requests failed.",
        ),
        (
            {"slos": [], "requests": {"started": 5, "finished": 5, "errors": 0}},
            "The run ended as planned; its plan sets no limits; none of 5 requests failed.",
        ),
        (
            FAILED | {"slos": [P95 | {"verdict": "failed", "observed": "> 300.0"}]},
            "The target was too slow: fewer than 95 of 100 iterations of checkout were done within 300 ms.",
        ),
        (
            FAILED
            | {
                "slos": [
                    P95 | {"verdict": "failed", "unit": "ratio", "observed": 0.048, "limit_ms": None, "allowed": 0.01},
                    P95 | {"verdict": "failed", "allowed": 0.001, "limit_ms": 1500.0},
                ]
            },
            "The target made too many errors: 4.80 % of the iterations of checkout failed, and 1.00 % may;"
            " 1 more limit failed.",
        ),
        (
            FAILED
            | {
                "slos": [
                    P95
                    | {
                        "verdict": "failed",
                        "request": "GET /pay",
                        "allowed": 0.001,
                        "limit_ms": 1500.0,
                        "window_s": 60.0,
                        "windows": 40,
                        "windows_failed": 3,
                    }
                ]
            },
            "The target was too slow in 3 of 40 periods: fewer than 999 of 1,000 requests GET /pay were done within"
            " 1.5 s.",
        ),
        (
            {"slos": [P95 | {"step": "pay"}]},
            "The target was fast enough: 95 of 100 steps pay took at most 44.2 ms, and 300 ms is the limit;",
        ),
        (
            FAILED | {"slos": [RATE | {"verdict": "failed"}, P95]},
            "The target did not keep 1 of its 2 limits; 3 of 12,000 requests failed.",
        ),
        (FAILED | {"slos": [RATE | {"verdict": "failed"}]}, "The target did not keep its limit; 3 of 12,000"),
        (
            FAILED | {"slos": [MEAN | {"verdict": "failed"}, P95 | {"verdict": "failed", "observed": "> 300.0"}]},
            "The target was too slow: fewer than 95 of 100 iterations of checkout were done within 300 ms;"
            " 1 more limit failed.",
        ),
        ({"slos": [MEAN]}, "The target kept its limit; 3 of 12,000 requests failed."),
        (FAILED | {"slos": [], "reasons": ["none of 12 requests succeeded"]}, "The run failed: none of 12 requests"),
        ({"result": "invalid"}, "The load generator could not measure, so do not judge the target by this run."),
        ({"result": "interrupted"}, "The run was stopped after 20.0 s, so it neither passed nor failed."),
        ({"result": "error"}, "The run ended with an error, so it gives no verdict about the target."),
        (
            {"result": "incomplete", "agents": [{"id": "a", "region": "r", "complete": False}]},
            "A part of the measurements is missing, so the run neither passed nor failed.",
        ),
        (
            {"result": "incomplete", "agents": []},
            "The results do not decide whether the target met its limits, so make a longer run.",
        ),
        ({"slos": [], "steering": [KNEE]}, "The target kept its limits up to a load of 79.9/s, and not above."),
        (
            {"slos": [], "steering": [KNEE | {"verdict": "not reached", "rate_per_s": 320.0}]},
            "The target kept its limits up to a load of 320/s, the highest that was tried.",
        ),
    ],
)
def test_each_result_is_one_plain_sentence(changes: dict[str, Any], sentence: str) -> None:
    made = plain_sentence(of(**changes))

    assert made.startswith(sentence)
    assert not [word for word in ("p95", "p(", "SLO", "exit code", "percentile") if word in made]


def test_a_suspect_run_adds_its_doubt_to_the_sentence() -> None:
    made = plain_sentence(of(validity={"verdict": "suspect", "reasons": ["agent us was unfit"]}))

    assert made.endswith(", but the load generator was busy at times, so repeat the run.")


def test_the_headline_of_a_search_leads_with_its_limit_and_says_it_once() -> None:
    found = of(slos=[], steering=[KNEE], reasons=[KNEE["text"]])
    report = final_report(found)

    assert report.headline == (
        "Limit found: 79.9/s (90 %: 75.9 to 81.8) for p(99) < 300ms. PASSED (exit code 0): 4,000 iterations in 20.0 s."
    )
    assert not [line for line in report.lines if "79.9" in line]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {"low": None, "high": None, "held_per_s": 79.7},
            "Held 79.7/s; the limit for p(99) < 300ms is about 79.9/s",
        ),
        ({"verdict": "not reached", "rate_per_s": 320.0}, "Limit not reached: p(99) < 300ms held up to 320/s"),
        (
            {"verdict": "not decided", "text": "not decided: the knee is somewhere in 70.0/s to 90.0/s"},
            "Limit not found: the knee is somewhere in 70.0/s to 90.0/s",
        ),
        ({"verdict": None, "text": ""}, ""),
    ],
)
def test_other_results_of_a_steered_load_lead_as_well(more: dict[str, Any], text: str) -> None:
    assert limit_found(of(slos=[], steering=[KNEE | more])) == text


def test_the_limit_of_an_invalid_run_is_not_in_front() -> None:
    why = "agent us was unfit to measure"
    found = of(result="invalid", exit_code=4, steering=[KNEE], reasons=[why, KNEE["text"]])

    assert headline(found).startswith(f"INVALID (exit code 4): {why}")
