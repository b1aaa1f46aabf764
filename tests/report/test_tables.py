"""The final table in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import StorageError
from loadgen.report.report_tables import Report, final_report, milliseconds
from loadgen.report.summary_reader import read
from loadgen.report.verdict_words import headline


def series(kind: str, step: str | None, request: str | None, **more: Any) -> dict[str, Any]:
    times = {"mean": 20.0, "p50": 12.5, "p90": 30.0, "p95": 44.2, "p99": 80.0, "p99.9": 1234.5, "max": 1300.0}
    made = {
        "kind": kind,
        "journey": "checkout",
        "step": step,
        "request": request,
        "outcome": "*",
        "region": "*",
        "count": 4000,
        "censored": 0,
        "response_ms": times,
        "service_ms": None,
    }
    return made | more


def summary(**changes: Any) -> dict[str, Any]:
    """A run that passed, as DESIGN has its summary.json; with a key that this reader does not know."""
    made: dict[str, Any] = {
        "format": 1,
        "run_id": "20261124-170312-checkout-a1b2",
        "scenario": "checkout.py",
        "plan": "plan",
        "placement": "embedded",
        "started_at": "2026-11-24T17:03:12.000Z",
        "duration_s": 20.0,
        "result": "passed",
        "exit_code": 0,
        "reasons": [],
        "validity": {"verdict": "valid", "reasons": []},
        "requests": {"started": 12000, "finished": 12000, "errors": 3},
        "iterations": {"due": 4000, "started": 4000, "finished": 4000, "missed": 0, "cut_off": 0},
        "slos": [
            {
                "objective": "p(95) < 300ms",
                "observed": 44.2,
                "unit": "ms",
                "count": 4000,
                "low": 41.0,
                "high": 47.5,
                "verdict": "passed",
            },
            {
                "objective": "error_ratio() < 1%",
                "observed": 0.0005,
                "unit": "ratio",
                "count": 4000,
                "low": None,
                "high": None,
                "verdict": "passed",
            },
        ],
        "series": [
            series("journey", None, None),
            series("journey", None, None, region="us-east-1", count=2400),
            series("journey", None, None, region="eu-west-1", count=1600),
            series("step", "login", None),
            series("step", "cart", None),
            series("step", "cart/pay", None),
            series("request", "login", "POST /login"),
            series("request", "cart/pay", "POST /pay"),
            series("request", None, "GET /"),
            series("request", "login", "POST /login", outcome="ok", count=3997),
            series("request", "login", "POST /login", outcome="http 503", count=3),
        ],
        "agents": [
            {"id": "us-east-1", "region": "us-east-1", "complete": True, "requests": 7200},
            {"id": "eu-west-1", "region": "eu-west-1", "complete": True, "requests": 4800},
        ],
        "new_key": {"of a later": "version"},
    }
    return made | changes


def report(**changes: Any) -> Report:
    return final_report(read(summary(**changes)), Path("runs/x"))


def table(of: Report, title: str) -> tuple[tuple[str, ...], ...]:
    (found,) = (t for t in of.tables if t.title.startswith(title))
    return found.rows


def test_run_that_passed_says_so_in_one_sentence() -> None:
    assert report().headline == "PASSED (exit code 0): 2 of 2 objectives met over 4,000 iterations in 20.0 s."


def test_run_without_objectives_does_not_claim_any() -> None:
    assert report(slos=[]).headline.endswith(": no objectives were set; 4,000 iterations in 20.0 s.")


def test_run_that_failed_gives_every_reason() -> None:
    made = report(result="failed", exit_code=1, reasons=["p(95) < 300ms: 412 ms of 4,000.", "agent eu is lost"])

    assert made.headline == "FAILED (exit code 1): p(95) < 300ms: 412 ms of 4,000; agent eu is lost."


def test_many_reasons_are_a_list_and_told_once() -> None:
    made = report(
        result="incomplete",
        exit_code=3,
        reasons=["agent eu: no data from 4 s to 14 s: killed", "p(95) is inconclusive", "p(99) is inconclusive"],
        notes=["agent eu is lost: killed", "garbage collection paused"],
        agents=[
            {"id": "eu", "region": "eu", "complete": False, "missing": "agent eu: no data from 4 s to 14 s: killed"}
        ],
    )

    assert made.headline == (
        "INCOMPLETE (exit code 3): agent eu: no data from 4 s to 14 s: killed; and 2 more reasons, below."
    )
    assert made.lines[:2] == ("- p(95) is inconclusive.", "- p(99) is inconclusive.")
    assert [line for line in made.lines if line.startswith("Note")] == ["Note: garbage collection paused."]
    assert made.foot[:2] == ("Agents: 0 of 1 complete.", "Run folder: runs/x")


def test_fitness_is_told_once() -> None:
    why = "agent us was unfit in 2 of 6 intervals."
    made = report(
        result="interrupted",
        exit_code=130,
        reasons=["interrupted by Ctrl-C", why],
        validity={"verdict": "suspect", "reasons": [why]},
    )

    assert made.headline == "INTERRUPTED (exit code 130): interrupted by Ctrl-C."
    assert sum("2 of 6 intervals" in text for text in (made.headline, *made.lines)) == 1


def test_invalid_run_gives_its_unfitness_as_the_reason() -> None:
    why = "agent us was unfit in 4 of 6 intervals"
    made = report(result="invalid", exit_code=4, reasons=[why], validity={"verdict": "invalid", "reasons": [why]})

    assert made.headline == f"INVALID (exit code 4): {why}."
    assert "The load generator could not measure correctly (invalid)." in made.lines


def test_each_of_several_reasons_of_an_invalid_run_is_told_once() -> None:
    whys = [f"worker {n} was unfit" for n in range(3)]
    made = report(result="invalid", exit_code=4, reasons=whys, validity={"verdict": "invalid", "reasons": whys})

    assert all(sum(why in text for text in (made.headline, *made.lines)) == 1 for why in whys)


def test_every_percentile_has_its_count_and_the_tree_of_steps() -> None:
    rows = table(report(), "Response time, ms, all regions")

    assert [row[0] for row in rows] == [
        "checkout",
        "  login",
        "    POST /login",
        "  cart",
        "  cart/pay",
        "    POST /pay",
        "  GET /",
    ]
    assert rows[0][1:] == ("4,000", "12.5", "30.0", "44.2", "80.0", "1,234", "1,300")


def test_a_step_whose_name_has_a_slash_is_shown_with_its_full_name() -> None:
    steps = [series("journey", None, None), series("step", "GET /cart/pay", None)]
    rows = table(report(series=steps), "Response time, ms, all regions")

    assert [row[0] for row in rows] == ["checkout", "  GET /cart/pay"]


def test_censored_values_get_a_column_and_a_word() -> None:
    late = series("journey", None, None, censored=12, response_ms={"p50": 12.5, "p99": "> 60000.0", "max": "> 60000.0"})
    (found,) = (t for t in report(series=[late]).tables if t.title.startswith("Response time, ms, all"))

    assert found.columns[2] == "bounds"
    assert found.rows[0][2] == "12"
    assert found.rows[0][-1] == "> 60,000"
    assert "only lower bounds" in found.note


def test_regions_of_embedded_agents_are_called_simulated() -> None:
    assert table(report(), "Response time of journeys by region")[0][0] == "eu-west-1 (simulated)"
    assert table(report(placement="fleet"), "Response time of journeys by region")[0][0] == "eu-west-1"


def test_objective_shows_interval_unit_count_and_verdict() -> None:
    assert table(report(), "Objectives") == (
        ("p(95) < 300ms", "passed", "44.2 ms", "41.0 to 47.5 ms", "4,000"),
        ("error_ratio() < 1%", "passed", "0.050 %", "-", "4,000"),
    )


@pytest.mark.parametrize(
    ("result", "note"),
    [
        ("passed", ""),
        ("failed", ""),
        (
            "invalid",
            "The run is invalid, so its objectives are not judged: the figures contain the generator's delays.",
        ),
        ("incomplete", "The run is not complete, so a passed objective only covers the measured part."),
        ("interrupted", "The run is not complete, so a passed objective only covers the measured part."),
    ],
)
def test_objectives_of_a_run_that_is_not_valid_or_complete_have_a_warning(result: str, note: str) -> None:
    (found,) = (t for t in report(result=result).tables if t.title == "Objectives")

    assert found.rows[0][1] == ("not judged" if result == "invalid" else "passed")
    assert found.note.startswith(note)
    assert ("run is" in found.note) == bool(note)


def test_errors_are_named_with_their_count() -> None:
    assert table(report(), "Errors") == (("http 503", "request POST /login", "3"),)


def test_incomplete_agent_is_named_with_what_is_missing() -> None:
    agents = [
        {"id": "us", "region": "us-east-1", "complete": True, "requests": 1, "missing": None},
        {
            "id": "eu",
            "region": "eu-west-1",
            "complete": False,
            "requests": 1,
            "missing": "agent eu: no data from 12 s on",
        },
    ]

    assert report(agents=agents).foot[:3] == (
        "Agents: 1 of 2 complete.",
        "  agent eu: no data from 12 s on.",
        "Run folder: runs/x",
    )


def test_command_that_shows_what_failed_is_named_where_anything_did() -> None:
    hint = "Failed requests with their responses: loadgen failures runs/x"
    assert report().foot[-1] == hint
    assert hint not in report(requests={"started": 9, "finished": 9, "errors": 0}).foot
    no_request = {"due": 9, "started": 9, "finished": 9, "missed": 0, "cut_off": 0, "errors": 1}
    assert hint in report(requests={}, iterations=no_request).foot


# -- intervals ------------------------------------------------------------------------------------

CI = {"p50": [12.1, 13.0], "p90": [29.0, 31.0], "p95": [43.0, 46.0], "p99": "too few samples", "p99.9": "censored"}


def with_ci(kind: str = "journey", step: str | None = None, request: str | None = None, **more: Any) -> dict[str, Any]:
    return series(kind, step, request, response_ci_ms=CI, interval="5 batches of 24.0 s") | more


def test_percentiles_stand_with_the_ends_of_their_intervals() -> None:
    made = report(series=[with_ci(), with_ci("step", "login")])

    (found,) = (t for t in made.tables if t.title.startswith("95 %"))
    assert found.rows == (
        ("checkout", "12.5 [12.1, 13.0]", "44.2 [43.0, 46.0]"),
        ("  login", "12.5 [12.1, 13.0]", "44.2 [43.0, 46.0]"),
    )
    assert found.columns == ("", "p50", "p95")
    assert found.note == "From 5 batches of 24.0 s. No interval of p99: too few samples."


def test_rows_without_an_interval_are_left_out_and_counted() -> None:
    none = dict.fromkeys(CI, "too few samples")
    made = report(series=[with_ci(), with_ci("step", "login", response_ci_ms=none)])

    (found,) = (t for t in made.tables if t.title.startswith("95 %"))
    assert [row[0] for row in found.rows] == ["checkout"]
    assert found.note.endswith("1 more row without an interval: too few samples.")


def test_of_many_rows_only_the_journeys_have_their_intervals_shown_and_it_is_said() -> None:
    made = report(series=[with_ci(), *(with_ci("request", None, f"GET /{n}") for n in range(20))])

    (found,) = (t for t in made.tables if t.title.startswith("95 %"))
    assert [row[0] for row in found.rows] == ["checkout"]
    assert found.note.endswith("The intervals of steps and requests are in summary.json.")


def test_run_without_any_interval_says_why_in_a_line_and_has_no_table() -> None:
    short = dict.fromkeys(CI, "too short")
    made = report(
        series=[with_ci(response_ci_ms=short, interval="too short")],
        slos=[{"objective": "p(95) < 300ms", "observed": 44.2, "unit": "ms", "count": 9, "verdict": "passed"}],
    )

    assert not [t for t in made.tables if t.title.startswith("95 %")]
    assert any(line.startswith("No 95 % intervals: the run is too short") for line in made.lines)


def test_an_interval_of_a_rate_has_the_form_of_a_rate() -> None:
    slo = {"objective": 'throughput() > "90/s"', "observed": 128.0, "unit": "/s", "count": 9, "verdict": "passed"}
    made = report(slos=[slo | {"low": 102.0, "high": 157.0, "detail": "128/s"}])

    assert table(made, "Objectives")[0][3] == "102 to 157/s"


def test_objective_without_an_interval_says_why() -> None:
    slo = {"objective": "p(95) < 300ms", "observed": 44.2, "unit": "ms", "count": 9, "verdict": "passed"}
    made = report(series=[with_ci(interval="too short")], slos=[slo | {"journey": "checkout"}])

    assert table(made, "Objectives")[0][3] == "too short"


def test_older_summary_without_intervals_says_nothing_of_them() -> None:
    made = report()
    assert not [t for t in made.tables if t.title.startswith("95 %")]
    assert not [line for line in made.lines if "intervals" in line]


def test_objective_over_windows_tells_how_many_broke_it_and_where_the_worst_was() -> None:
    slo = {
        "objective": "p(95, window=1m) < 300ms",
        "verdict": "failed",
        "observed": 0.12,
        "unit": "ratio",
        "count": 1200,
        "budget": 2.4,
        "window_s": 60.0,
        "windows": 541,
        "windows_failed": 31,
        "worst_window_s": 412.0,
    }
    (found,) = (t for t in report(slos=[slo]).tables if t.title.startswith("Objectives"))

    assert found.columns == ("objective", "verdict", "late or failed", "worst window", "broken", "budget", "count")
    assert found.rows == (
        ("p(95, window=1m) < 300ms", "failed", "12.0 %", "6:52 to 7:52", "31 of 541", "240 %", "1,200"),
    )


def test_objective_that_differs_from_the_table_of_response_times_is_explained() -> None:
    slo = {"objective": "p(95) < 300ms", "journey": "checkout", "unit": "ms", "count": 4000, "allowed": 0.05}

    def notes(observed: object) -> str:
        made = report(slos=[slo | {"verdict": "failed", "observed": observed}])
        (found,) = (t for t in made.tables if t.title == "Objectives")
        return found.note

    assert "Objectives count failed and missed iterations as late" in notes("> 347.0")
    assert notes(44.2) == ""


# -- warm-up, loads, tags, own metrics --------------------------------------------------------------


def test_warm_up_is_told_with_how_long_it_was_or_why_it_was_cut() -> None:
    stated = report(warmup={"cut_s": 30.0, "how": "stated", "why": "", "series": []}).lines
    assert "Warm-up: the tables leave out the first 30.0 s." in stated
    why = "until 30.0 s response times were 129 % longer than after it (MSER-5)"
    found = report(warmup={"cut_s": 30.0, "how": "found", "why": why, "series": []}).lines
    assert f"Warm-up detection after the run: {why}." in found
    assert not [line for line in report(warmup=None).lines if "Warm-up" in line]


def test_skipped_iterations_are_told_where_there_are_any() -> None:
    counts = {"due": 9, "started": 9, "finished": 9, "missed": 0, "cut_off": 0, "skipped": 4}
    assert any("9 finished, 4 of them skipped, 0 missed" in line for line in report(iterations=counts).lines)
    assert not any("skipped" in line for line in report().lines)


def test_rows_are_split_by_the_values_of_a_tag() -> None:
    tagged = [
        series("request", None, "GET /products", count=90, tags={"x-cache": "hit"}),
        series("request", None, "GET /products", count=10, tags={"x-cache": "miss"}),
        *(series("request", None, "GET /", count=1, tags={"x-node": f"n{n}"}) for n in range(8)),
    ]
    made = report(tagged=tagged)

    assert table(made, "Response time split by x-cache, ms") == (
        ("GET /products", "hit", "90", "12.5", "44.2", "80.0"),
        ("GET /products", "miss", "10", "12.5", "44.2", "80.0"),
    )
    (nodes,) = (t for t in made.tables if "x-node" in t.title)
    assert len(nodes.rows) == 6
    assert nodes.note == "summary.json has 2 more values, all rarer."


def test_phases_stand_with_counts_of_their_own_and_bounds_are_called_bounds() -> None:
    phases = {
        "connect": {"count": 40, "censored": 0, "mean": 0.3, "p50": 0.25, "p95": 0.5, "p99": 1.25, "max": 3.0},
        "wait": {"count": 4000, "censored": 3, "p50": 20.0, "p95": 40.0, "p99": "> 1000.5", "max": "> 1000.5"},
    }
    rows = [series("journey", None, None), series("request", "cart/pay", "POST /pay", phases_ms=phases)]
    assert table(report(series=rows), "Phases of requests") == (
        ("cart/pay > POST /pay", "connect", "40", "0.25", "0.50", "1.25", "3.00"),
        ("cart/pay > POST /pay", "wait", "4,000", "20.0", "40.0", "> 1,000", "> 1,000"),
    )
    assert not [t for t in report().tables if t.title.startswith("Phases")]
    many = [series("request", None, f"GET /{n}", phases_ms=phases) for n in range(17)]
    (found,) = [t for t in report(series=many).tables if t.title.startswith("Phases")]
    assert (len(found.rows), found.note) == (30, "summary.json has 2 more requests.")


def test_several_loads_have_their_journeys_apart() -> None:
    loads = [{"load": "spike", "series": [series("journey", None, None, count=7), series("step", "login", None)]}]
    assert table(report(loads=loads), "Response time of journeys by load") == (
        ("spike", "checkout", "7", "12.5", "44.2", "80.0"),
    )


def test_checks_and_own_metrics_have_their_values_with_unit_and_count() -> None:
    custom = [
        {"name": "check: cart is full", "kind": "rate", "region": "*", "n": 200, "hits": 190, "ratio": 0.95},
        {"name": "check: logged in", "kind": "rate", "region": "*", "n": 200, "hits": 200, "ratio": 1.0},
        {"name": "orders", "kind": "counter", "region": "*", "unit": "orders", "n": 40, "total": 81},
        {"name": "orders", "kind": "counter", "region": "us", "unit": "orders", "n": 20, "total": 41},
        {"name": "cache hits", "kind": "rate", "region": "*", "n": 1000, "hits": 998, "ratio": 0.998},
        {"name": "stock", "kind": "gauge", "region": "*", "unit": "items", "n": 3, "low": 1.5, "high": 40.0, "last": 7},
        {"name": "basket", "kind": "trend", "region": "*", "unit": "EUR", "n": 9, "values": {"p50": 12.34, "p95": 1e3}},
        {"name": "never", "kind": "trend", "region": "*", "unit": "EUR", "n": 0, "values": None},
    ]
    made = report(custom=custom)

    assert table(made, "Checks") == (("cart is full", "95.0 %", "10", "200"), ("logged in", "100 %", "0", "200"))
    assert table(made, "The scenario's own metrics") == (
        ("orders", "counter", "81 orders", "40"),
        ("cache hits", "rate", "99.80 % (998)", "1,000"),
        ("stock", "gauge", "1.5 to 40, last 7 items", "3"),
        ("basket", "trend", "p50 12.34, p95 1,000, p99 - EUR", "9"),
        ("never", "trend", "-", "0"),
    )


def test_closed_load_and_a_small_pool_are_said() -> None:
    lines = report(
        load={"text": "users", "open": False}, pool_limited={"requests": 300, "share": 0.025, "add_users": True}
    ).lines

    assert "Closed load: the rate followed the target's speed." in lines
    assert any(line.startswith("Pool-limited: 2.50 % of the requests") for line in lines)


def test_unsure_objectives_say_so_with_the_interval_of_their_bad_share() -> None:
    unsure = summary()["slos"][0] | {
        "sure": False,
        "bad_share_low": 0.039,
        "bad_share_high": 0.056,
        "allowed": 0.05,
    }
    (found,) = (t for t in report(slos=[unsure]).tables if t.title == "Objectives")
    assert found.rows[0][1] == "passed, not sure"
    unsure_line = "p(95) < 300ms: not sure; 3.90 % to 5.60 % are bad (95 % interval), and 5.00 % is allowed."
    assert unsure_line in found.note.split("\n")
    for sure in (True, None):
        (found,) = (t for t in report(slos=[unsure | {"sure": sure}]).tables if t.title == "Objectives")
        assert found.rows[0][1] == "passed"
        assert "not sure" not in found.note


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, "none of 300 iterations failed, but a sure verdict needs 368 iterations, and none of them may fail."),
        (
            {"request": "GET /"},
            "none of 300 requests failed, but a sure verdict needs 368 requests, and none of them may fail.",
        ),
        ({"allowed": 0.0}, "none of 300 iterations failed, and no number of them is enough, because none may be bad."),
        (
            {"limit_ms": 300.0, "unit": "ms", "observed": 21.6},
            "none of 300 iterations was late or failed, but a sure verdict needs 368 iterations,"
            " and none of them may be late or fail.",
        ),
        (
            {"window_s": 60.0, "windows": 4, "worst_window_s": 0.0},
            "none of 300 iterations in its worst window failed, but a sure verdict needs 368 iterations in each window,"
            " and none of them may fail.",
        ),
    ],
)
def test_unsure_objectives_without_a_bad_one_have_no_second_interval(more: dict[str, Any], note: str) -> None:
    ratio = {"objective": "error_ratio() < 1%", "unit": "ratio", "observed": 0.0, "low": 0.0, "high": 0.01}
    unsure = summary()["slos"][0] | ratio | {"count": 300, "budget": 0.0, "allowed": 0.01, "limit_ms": None}
    unsure |= {"sure": False, "bad_share_low": 0.0, "bad_share_high": 0.01221994} | more
    found = next(t for t in report(slos=[unsure]).tables if t.title.startswith("Objectives"))
    assert f"error_ratio() < 1%: not sure; {note}" in found.note.split("\n")


def test_run_that_needs_sure_objectives_is_not_called_incomplete_in_its_data() -> None:
    unsure = summary()["slos"][0] | {"sure": False, "bad_share_low": 0.039, "bad_share_high": 0.056}
    (found,) = (t for t in report(slos=[unsure], result="incomplete", exit_code=3).tables if t.title == "Objectives")
    assert found.note.startswith("The run counts only with sure objectives (--sure).")


def test_times_that_leave_a_wait_out_are_marked_as_lower_bounds() -> None:
    rows = [
        series("journey", None, None),
        series("step", "cart", None, bound="lower"),
        series("request", "cart", "GET /cart", bound="lower", response_ms={"p50": 5.8, "p99": "> 60000.0"}),
    ]
    (found,) = (t for t in report(series=rows).tables if t.title.startswith("Response time, ms, all regions"))
    assert found.rows[0][2:4] == ("12.5", "30.0")
    assert found.rows[1][2:4] == (">= 12.5", ">= 30.0")
    assert found.rows[2][2:] == (">= 5.80", "-", "-", "> 60,000", "-", "-")
    assert found.note.startswith(">=: a lower bound.")


def test_run_without_anything_measured_can_be_told() -> None:
    made = report(result="error", exit_code=5, reasons=["no agent came"], series=[], slos=[], agents=[])

    assert made.tables == ()
    assert made.foot[0] == "Agents: no agent took part."
    assert not any("measured correctly" in line or "measure correctly" in line for line in made.lines)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (0.0, "0.00"),
        (1.234, "1.23"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1234.5, "1,234"),
        ("> 1234.5", "> 1,234"),
        ("> 999.96", "> 999"),
        ("> 12.39", "> 12.3"),
        ("?", "?"),
        (None, "-"),
    ],
)
def test_milliseconds(figure: float | str | None, text: str) -> None:
    assert milliseconds(figure) == text


def test_summary_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary()))

    assert read(path) == read(summary())
    assert headline(read(path)).startswith("PASSED")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot read"),
        (b"{", "cannot read"),
        (b"[]", "cannot read"),
        (b"\xff\xfe", "cannot read"),
        (b'{"format": 1}', "missing required field"),
        (b'{"format": 2}', "only formats up to 1"),
    ],
)
def test_what_is_no_summary_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)

    with pytest.raises(StorageError, match=why) as raised:
        read(path)
    assert "summary.json" in raised.value.message


def test_missing_summary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read(tmp_path / "summary.json")


def test_what_was_changed_while_it_ran_is_told_with_its_times() -> None:
    changes = [
        {"at_s": 30.0, "kind": "pause", "load": "", "text": "paused, at 200/s"},
        {"at_s": 31.0, "kind": "pause", "load": "spike", "text": "paused, at 50/s"},
        {"at_s": 70.5, "kind": "resume", "load": "", "text": "resumed, at 200/s"},
        {"at_s": 80.0, "kind": "scale", "load": "", "text": "scaled by 1.5, from 200/s to 300/s"},
        *({"at_s": 90.0 + n, "kind": "steer", "load": "", "text": "to 310/s"} for n in range(12)),
    ]
    lines = final_report(read(summary(adjustments=changes))).lines
    assert (
        "The load was changed during the run: paused 0:30 to 1:10.5; spike: paused 0:31 and not resumed;"
        " at 1:20 scaled by 1.5, from 200/s to 300/s." in lines
    )
    assert "The executor changed the rate 12 times during the run; summary.json lists the changes." in lines
    assert not any("changed during the run" in line for line in final_report(read(summary())).lines)
