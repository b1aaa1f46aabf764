"""The responses of a sweep: what `--of` may name, and that their values are those of the gate."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.history.store.extract import accepted_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.sweep.responses import Response, parse_responses, unknown_names, values_of
from tests.support.past_runs import past_run

ALL = "p50,p95,p99,mean,error_ratio,throughput,p99:checkout > pay,error_ratio:checkout > pay > POST /cart"


def test_responses_are_parsed_in_their_order_with_names() -> None:
    found = parse_responses("P99, error_ratio,throughput:checkout,p95:ach>post,p99.9")

    assert [one.text for one in found] == ["p99", "error_ratio", "throughput:checkout", "p95:ach > post", "p99.9"]
    assert [one.unit for one in found] == ["ms", "", "/s", "ms", "ms"]
    assert [one.is_log for one in found] == [True, False, True, True, True]


def test_all_faults_of_responses_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        parse_responses("p99,p101,p0,p99,eror_ratio,p95:,,max")

    lines = raised.value.message.splitlines()
    assert len(lines) == 7
    assert "did you mean error_ratio?" in raised.value.message
    assert 'the response "p99" is given twice' in raised.value.message
    assert 'a name is missing after "p95:"' in raised.value.message


def test_more_than_20_responses_are_refused() -> None:
    with pytest.raises(UsageError, match="21 responses: at most 20"):
        parse_responses(",".join(f"p{n}" for n in range(10, 31)))


@given(st.text(max_size=60))
def test_any_text_is_a_list_of_responses_or_a_usage_error(text: str) -> None:
    try:
        found = parse_responses(text)
    except UsageError:
        return
    assert parse_responses([one.text for one in found]) == found


def test_a_journey_that_the_plan_does_not_have_is_reported_with_the_nearest() -> None:
    found = parse_responses("p99,p99:chekout > pay,p95:browse")

    assert unknown_names(found, ["checkout", "browse"]) == [
        '--of: "p99:chekout > pay" has an unknown journey "chekout"; did you mean "checkout"?'
    ]


def test_values_are_those_of_the_gate(tmp_path: Path) -> None:
    folder = past_run(tmp_path, failing=0.005)
    accepted = accepted_of(open_run(folder))

    found = values_of(folder, parse_responses(ALL))

    assert found.is_fit
    for statistic in ("p50", "p95", "p99", "mean"):
        figure = accepted.figure("checkout", statistic)
        assert figure is not None
        assert found.values[statistic] == figure.value_ms
    pay, errors = accepted.figure("checkout > pay", "p99"), accepted.errors_of("checkout")
    assert pay is not None
    assert errors is not None
    assert found.values["p99:checkout > pay"] == pay.value_ms
    assert found.values["error_ratio"] == errors.ratio
    assert found.values["throughput"] == pytest.approx(accepted.achieved_rate * (1 - errors.ratio))
    assert (found.run_id, found.result, found.validity) == (accepted.run_id, "passed", "valid")


def test_response_times_of_a_run_with_more_than_1_percent_errors_are_marked_and_its_errors_are_a_value(
    tmp_path: Path,
) -> None:
    found = values_of(past_run(tmp_path, failing=0.3), parse_responses("p99,p50:checkout > pay,throughput"))

    assert found.is_fit
    assert found.values["p99"] is found.values["p50:checkout > pay"] is None
    assert found.values["error_ratio"] == pytest.approx(0.3, abs=0.05)
    assert found.values["throughput"] == pytest.approx(28, abs=2)
    assert "errors, more than 1.00 %: response times are not compared" in found.why


def test_a_run_that_started_too_little_or_never_ended_has_no_values_and_a_reason(tmp_path: Path) -> None:
    slow = values_of(past_run(tmp_path, "20261124-170312-shop-a1b2", started=0.8), [Response("p99")])
    killed = values_of(past_run(tmp_path, "20261124-170313-shop-a1b2", is_sealed=False), [Response("p99")])
    missing = values_of(tmp_path / "nothing", [Response("p99")])

    assert not slow.is_fit
    assert "iterations/s were started" in slow.why
    assert "has no summary" in killed.why
    for one in (slow, killed, missing):
        assert one.values == {"p99": None, "error_ratio": None}
        assert one.why


def test_a_name_that_the_run_does_not_have_is_missing_with_the_nearest_name(tmp_path: Path) -> None:
    found = values_of(past_run(tmp_path), parse_responses("p99:checkout > pai,throughput"))

    assert found.values["p99:checkout > pai"] is None
    assert found.why == 'the run has no "checkout > pai"; did you mean "checkout > pay"?'
