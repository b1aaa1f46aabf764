"""Recorded answers of CloudWatch and Datadog: each trap of their APIs is read rightly (tests/data/sources)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from loadgen.programme.sources import cloudwatch_answers as cloudwatch
from loadgen.programme.sources import datadog_answers as datadog
from loadgen.programme.sources.asked import Asked, NoCounts, Reply
from loadgen.programme.sources.count_points import Points, Sliced, sliced

DATA = Path(__file__).parents[1] / "data" / "sources"
START = 1_784_505_600
SPEC = {"namespace": "AWS/ApplicationELB", "metricName": "TargetResponseTime", "dimensions": {"LoadBalancer": "app/1"}}
HITS = "sum:trace.http.request.hits{service:shop}.as_count()"
OK = "sum:trace.http.request.hits{service:shop,ok:true}.as_count()"
RAW = "TC(:0.3) needs raw samples: CloudWatch has none where it got statistic sets, or where a value is negative"
ZERO = 'write absent = "zero" at the source if the metric is sent only when it is not zero'

Row = tuple[int, int, int, int, bool]
"""Number of the slice, good, total, missing seconds, estimated."""


def rows(found: Sliced) -> list[Row]:
    return [((s.start - START) // 300, s.good, s.total, s.missing_s, s.estimated) for s in found.slices]


def query(stat: str) -> str:
    return cloudwatch.metric_query({**SPEC, "stat": stat}, "eu-west-1").text


def of_cloudwatch(name: str, good: str = "Sum", bad: str = "", **more: Any) -> Sliced:
    asked = Asked(
        "fast", query("SampleCount"), "" if bad else query(good), bad and query(bad), START, START + 1200, 300
    )
    pages = json.loads((DATA / "cloudwatch" / f"{name}.json").read_text())
    for result in (result for page in pages for result in page["MetricDataResults"]):
        result["Timestamps"] = [datetime.fromisoformat(one) for one in result["Timestamps"]]
    found = cloudwatch.parse_pages(pages, asked)
    return Sliced(faults=(found,)) if isinstance(found, NoCounts) else sliced(asked, *found, "e", **more)


def of_datadog(name: str, total: str = HITS, **more: Any) -> Sliced:
    asked = Asked("fast", total, OK, "", START, START + 1200, 300)
    found = datadog.parse_points(Reply(200, (DATA / "datadog" / f"{name}.json").read_bytes()), asked)
    return (
        Sliced(faults=(found,)) if isinstance(found, NoCounts) else sliced(asked, found.total, found.part, "e", **more)
    )


@pytest.mark.parametrize(
    ("name", "given", "expected", "notes"),
    [
        (
            "counts_in_pages",
            {},
            [(0, 990, 1000, 0, False), (1, 1200, 1200, 0, False), (2, 799, 800, 0, False), (3, 0, 0, 0, False)],
            (),
        ),
        (
            "trimmed_count",
            {"good": "TC(:0.3)"},
            [(0, 990, 1000, 0, True), (1, 1200, 1200, 0, True), (2, 798, 800, 0, True), (3, 4, 5, 0, True)],
            (),
        ),
        (
            "negative_values_in_one_slice",
            {"good": "TC(:0.3)", "absent_is_zero": True},
            [(0, 990, 1000, 0, True), (1, 0, 0, 300, False), (2, 800, 800, 0, True), (3, 890, 900, 0, True)],
            (f"1 slice without counts: no data for good where total has some; {RAW}",),
        ),
        ("percentage", {"good": "PR(:0.3)"}, [(0, 990, 1000, 0, True), (1, 1199, 1200, 0, True)], ()),
        # The newest slices are late: they are left out and asked for again.
        (
            "gap_and_late_end",
            {},
            [(0, 990, 1000, 0, False), (1, 0, 0, 300, False), (2, 799, 800, 0, False)],
            ("1 slice without counts: no data for total",),
        ),
        (
            "errors_only_where_there_are_some",
            {"bad": "Sum"},
            [(0, 0, 0, 300, False), (1, 1193, 1200, 0, False), (2, 0, 0, 300, False), (3, 0, 0, 300, False)],
            (
                f"2 slices without counts: no data for bad where total has some; {ZERO}",
                "1 slice without counts: no data for total",
            ),
        ),
        (
            "errors_only_where_there_are_some",
            {"bad": "Sum", "absent_is_zero": True},
            [(0, 1000, 1000, 0, False), (1, 1193, 1200, 0, False), (2, 0, 0, 0, False), (3, 900, 900, 0, False)],
            (),
        ),
        (
            "impossible_counts",
            {},
            [(0, 0, 0, 300, False), (1, 0, 0, 300, False), (2, 799, 800, 0, False), (3, 9, 10, 0, False)],
            (
                "1 slice without counts: more good requests than all requests",
                "1 slice without counts: a count is negative or no number",
            ),
        ),
    ],
)
def test_counts_of_cloudwatch_are_read_with_their_traps(
    name: str, given: dict[str, Any], expected: list[Row], notes: tuple[str, ...]
) -> None:
    found = of_cloudwatch(name, **given)

    assert rows(found) == expected
    assert found.notes == notes
    assert found.faults == ()


# -- the bounds of interpolated counts --------------------------------------------------------------


def cloudwatch_pages(**values: list[float]) -> list[dict[str, Any]]:
    stamps = [datetime.fromtimestamp(START + 300 * n, UTC) for n in range(2)]
    found = [{"Id": id_, "StatusCode": "Complete", "Timestamps": stamps, "Values": one} for id_, one in values.items()]
    return [{"MetricDataResults": found}]


@pytest.mark.parametrize(
    ("stat", "narrow", "wide"),
    [
        ("TC(:0.3)", "TC(:0.2727272727)", "TC(:0.33)"),
        ("PR(:0.3)", "PR(:0.2727272727)", "PR(:0.33)"),
        ("TC(0.3:)", "TC(0.33:)", "TC(0.2727272727:)"),
        ("TC(0.1:0.3)", "TC(0.11:0.2727272727)", "TC(0.0909090909:0.33)"),
    ],
)
def test_a_count_of_cloudwatch_is_asked_for_at_limits_one_bucket_around_its_own(
    stat: str, narrow: str, wide: str
) -> None:
    asked = Asked("fast", query("SampleCount"), query(stat), "", START, START + 600, 300)

    found = [(one["Id"], one["MetricStat"]["Stat"]) for one in cloudwatch.requests_of(asked)]

    assert found == [("total", "SampleCount"), ("good", stat), ("fewest", narrow), ("most", wide)]


def test_exact_counts_and_neighbouring_limits_have_no_bounds() -> None:
    asked = Asked("fast", query("SampleCount"), query("Sum"), "", START, START + 600, 300)

    assert [one["Id"] for one in cloudwatch.requests_of(asked)] == ["total", "good"]
    assert cloudwatch.bracket(cloudwatch.MetricQuery.of(query("TC(0.29:0.3)"))) is None


@pytest.mark.parametrize(
    ("good", "bad", "part", "bounds"),
    [
        # Counts below and above are rounded outward, and stay within 0 and the total.
        ("TC(:0.3)", "", [95.0, 99.4], [(93, 97), (98, 100)]),
        ("PR(:0.3)", "", [95.0, 99.4], [(93, 97), (98, 100)]),
        ("", "TC(0.3:)", [5.0, 0.6], [(3, 7), (0, 2)]),
    ],
)
def test_the_counts_around_a_limit_are_the_bounds_of_good_requests(
    good: str, bad: str, part: list[float], bounds: list[tuple[int, int]]
) -> None:
    asked = Asked("fast", query("SampleCount"), good and query(good), bad and query(bad), START, START + 600, 300)
    around = {"fewest": [93.7, 98.9], "most": [96.2, 100.0]} if good else {"fewest": [3.1, 0.0], "most": [7.0, 1.2]}
    found = cloudwatch.parse_pages(
        cloudwatch_pages(total=[100.0, 100.0], **{"good" if good else "bad": part}, **around), asked
    )
    assert not isinstance(found, NoCounts)

    slices = sliced(asked, *found, "e").slices

    expected = bounds if good else [(100 - high, 100 - low) for low, high in bounds]
    assert [one.bounds for one in slices] == expected


@pytest.mark.parametrize("status", ["Forbidden", "InternalError", "PartialData"])
def test_a_faulty_bound_leaves_the_error_unknown_and_the_counts_stay(status: str) -> None:
    asked = Asked("fast", query("SampleCount"), query("TC(:0.3)"), "", START, START + 600, 300)
    pages = cloudwatch_pages(total=[100.0, 100.0], good=[95.0, 99.0], fewest=[94.0, 98.0], most=[97.0, 99.0])
    pages[0]["MetricDataResults"][3]["StatusCode"] = status
    found = cloudwatch.parse_pages(pages, asked)
    assert not isinstance(found, NoCounts)

    slices = sliced(asked, *found, "e").slices

    assert [(one.good, one.estimated, one.bounds) for one in slices] == [(95, True, None), (99, True, None)]


def test_a_share_of_a_sketch_is_asked_for_at_limits_one_bucket_around_its_own() -> None:
    slow = "count(v: v>0.3):shop.time{*}.as_count()"
    asked = Asked("fast", HITS, "", slow, START, START + 600, 300)

    path = unquote_plus(datadog.query_path(asked))

    assert "count(v: v>0.306):shop.time{*}.as_count().rollup(sum, 300)" in path
    assert "count(v: v>0.294117647):shop.time{*}.as_count().rollup(sum, 300)" in path
    series = [
        {"pointlist": [[START * 1000, value], [(START + 300) * 1000, value]], "interval": 300, "query_index": n}
        for n, value in enumerate([100.0, 5.0, 4.0, 7.0])
    ]
    found = datadog.parse_points(Reply(200, json.dumps({"status": "ok", "series": series}).encode()), asked)
    assert not isinstance(found, NoCounts)
    assert [one.bounds for one in sliced(asked, found.total, found.part, "e").slices] == [(93, 96)] * 2


def test_the_last_digits_of_floats_are_no_fractions() -> None:
    asked = Asked("fast", HITS, OK, "", START, START + 300, 300)

    found = sliced(asked, Points({START: 1000.0000000001}), Points({START: 989.9999999999}), "e").slices

    assert [(one.good, one.total, one.estimated) for one in found] == [(990, 1000, False)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("statistic_sets", RAW),
        ("partial_at_the_end", "CloudWatch returned PartialData"),
        ("forbidden", "no right to read it: cloudwatch:GetMetricData is needed"),
        ("internal_error", "CloudWatch returned InternalError"),
        ("message", "the answer is partial: MaxMetricsExceeded: The maximum number"),
        ("message_of_a_metric", "ArithmeticError: One or more data-points have been dropped"),
        ("nothing", "no data for total in this time"),
    ],
)
def test_a_faulty_answer_of_cloudwatch_is_missing_with_a_sentence(name: str, why: str) -> None:
    found = of_cloudwatch(name, good="TC(:0.3)", absent_is_zero=True)

    assert found.slices == ()
    (fault,) = found.faults
    assert why in fault.text


@pytest.mark.parametrize(
    ("name", "given", "expected", "notes"),
    [
        (
            "counts",
            {},
            [(0, 990, 1000, 0, False), (1, 1200, 1200, 0, False), (2, 799, 800, 0, False), (3, 0, 0, 0, False)],
            (),
        ),
        (
            "null_points",
            {},
            [(0, 990, 1000, 0, False), (1, 0, 0, 300, False), (2, 799, 800, 0, False)],
            ("1 slice without counts: no data for total",),
        ),
        ("fractions", {}, [(0, 990, 1000, 0, True), (1, 1200, 1200, 0, False)], ()),
        ("message", {}, [(0, 990, 1000, 0, False), (1, 1200, 1200, 0, False)], ()),
        # A share of a sketch is an estimate even where it is a whole number.
        (
            "message",
            {"total": "count(v: v<=0.3):trace.http.request{service:shop}.as_count()"},
            [(0, 990, 1000, 0, True), (1, 1200, 1200, 0, True)],
            (),
        ),
    ],
)
def test_counts_of_datadog_are_read_with_their_traps(
    name: str, given: dict[str, Any], expected: list[Row], notes: tuple[str, ...]
) -> None:
    found = of_datadog(name, **given)

    assert rows(found) == expected
    assert found.notes == notes


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rolled_up", "the answer is rolled up to 3600 s, not to 300 s"),
        ("error", "Datadog returned an error: Error parsing query"),
        ("partial", "Datadog returned an error: query 2 timed out"),
        ("grouped", "several series for one query: leave out by {...}"),
        ("stamps_off_the_edges", "a point is not at the start of a slice of 300 s"),
        ("without_good", "no data for good in this time"),
        ("nothing", f"no data for total in this time: {HITS}"),
    ],
)
def test_a_faulty_answer_of_datadog_is_missing_with_a_sentence(name: str, why: str) -> None:
    found = of_datadog(name, absent_is_zero=True)

    assert found.slices == ()
    (fault,) = found.faults
    assert why in fault.text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("history_of_a_metric_slo", datadog.Theirs(99.6333, "metric")),
        ("history_of_a_time_slice_slo", datadog.Theirs(100.0, "time_slice")),
        ("history_without_data", datadog.Theirs(None, "metric")),
        ("history_with_errors", NoCounts("Datadog returned an error: Unable to query metric data")),
    ],
)
def test_the_own_figure_of_datadog_is_read(name: str, expected: object) -> None:
    body = (DATA / "datadog" / f"{name}.json").read_bytes()

    assert datadog.parse_history(Reply(200, body)) == expected


# -- queries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stat": "p99"}, 'the statistic "p99" is not a count'),
        ({"stat": "Average"}, 'the statistic "Average" is not a count'),
        ({"stat": "TC(10%:90%)"}, "is not a count"),
        ({"stat": "TC(:0.25)"}, r"TC(:0.25) is not the threshold of the promise, which is 0.3 s"),
        ({"metricName": None}, "metricName is missing or no text"),
        ({"namespace": ""}, "namespace is missing or no text"),
        ({"region": "Ireland"}, 'invalid region "Ireland"'),
        ({"expression": "m1/m2"}, "expression is not read"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"dimensions": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "a name is there twice"),
        ({"dimensions": {"A": 1}}, "each name and each value must be a text"),
    ],
)
def test_a_query_to_cloudwatch_that_is_no_count_is_a_fault_before_any_call(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        cloudwatch.metric_query({**SPEC, "stat": "TC(:0.3)", **changed}, "eu-west-1", Decimal("0.3"))


def test_a_threshold_may_be_in_milliseconds_and_dimensions_may_be_a_list() -> None:
    spec = {**SPEC, "stat": "TC(:300)", "dimensions": [{"name": "LoadBalancer", "value": "app/1"}]}
    found = cloudwatch.metric_query(spec, "eu-west-1", Decimal("0.3"))

    assert found.dimensions == (("LoadBalancer", "app/1"),)
    assert cloudwatch.MetricQuery.of(found.text) == found


@pytest.mark.parametrize(("width", "days"), [(30, 0.125), (60, 15), (240, 15), (300, 63), (1800, 63), (3600, 455)])
def test_cloudwatch_keeps_short_periods_for_less_time(width: int, days: float) -> None:
    assert cloudwatch.keeps_s(width) == days * 86_400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum:shop.hits{*}", "sum:shop.hits{*}.as_count()"),
        ("sum:shop.hits{a:b,c:d}.as_count().rollup(sum, 60)", "sum:shop.hits{a:b,c:d}.as_count()"),
        ("count(v: v<=0.3):shop.time{*}", "count(v: v<=0.3):shop.time{*}.as_count()"),
    ],
)
def test_a_query_to_datadog_always_counts(text: str, expected: str) -> None:
    assert datadog.count_query({"query": text}) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("avg:shop.hits{*}", "is not a query of one count"),
        ("p95:shop.time{*}", "is not a query of one count"),
        ("sum:a{*}/sum:b{*}", "is not a query of one count"),
        ("sum:shop.hits{*}.as_rate()", "has rates, not counts"),
        ("sum:shop.hits{*} by {host}", "has groups: leave out by {...}"),
        ("sum:shop.hits{*}.rollup(avg, 300)", "has a rollup other than sum"),
        ("sum:shop.hits{*}.fill(zero)", "makes up points where there are none"),
        ("", "query is missing"),
    ],
)
def test_a_query_to_datadog_that_is_no_count_is_a_fault_before_any_call(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        datadog.count_query({"query": text})


def test_a_call_to_datadog_asks_for_the_sum_of_each_slice_and_leaves_corrections_out() -> None:
    asked = Asked("fast", HITS, OK, "", START, START + 1200, 300, "0123abcd")

    assert f"from={START}&to={START + 1199}&query=" in datadog.query_path(asked)
    assert datadog.query_path(asked).count("rollup%28sum%2C+300%29") == 2
    assert datadog.history_path(asked).endswith("apply_correction=false")


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "9"}, 0),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, 9),
        (429, {"x-ratelimit-reset": "9"}, 9),
        (429, {"x-ratelimit-reset": "soon"}, 0),
    ],
)
def test_the_rate_limit_of_datadog_is_read(status: int, headers: dict[str, str], expected: float) -> None:
    assert datadog.wait_s(Reply(status, b"", headers)) == expected
