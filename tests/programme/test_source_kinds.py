"""Sources in `programme.toml`, and what a pull asks of each kind."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import ScenarioError
from loadgen.programme.promises.objectives import (
    DataSource,
    Method,
    Objective,
    Query,
    RatioIndicator,
    RollingWindow,
    Threshold,
    ThresholdIndicator,
)
from loadgen.programme.pulling.live_check import SLICES, live_jobs
from loadgen.programme.pulling.pull import Job, job_of
from loadgen.programme.pulling.source_kinds import KINDS
from loadgen.programme.pulling.source_settings import Source, read_sources, source_of

DAY = 86_400
NOW = 1_784_505_600 + 100 * DAY
AWS = Source("aws", "cloudwatch", region="eu-west-1")
DATADOG = Source("dd", "datadog", site="datadoghq.eu", api_key_secret="a", application_key_secret="b", late_s=900)
METRIC = {"namespace": "Shop", "metricName": "Time", "stat": "SampleCount"}
HITS = {"query": "sum:shop.hits{*}.as_count()"}


def promise(source: str, total: dict[str, Any], good: dict[str, Any], type_: str = "", **more: Any) -> Objective:
    indicator = RatioIndicator(Query("", type_, json.dumps(total)), Query("", type_, json.dumps(good)))
    fields = {"source": source, "indicator": indicator, **more}
    return Objective("fast", "shop", Decimal("0.995"), RollingWindow(28 * DAY), **fields)


def job(objective: Objective, source: Source, days: int, **given: Any) -> Job:
    return job_of(objective, {source.name: source}, (), None, (NOW - days * DAY, NOW, NOW))


def test_datadog_is_asked_in_ranges_of_1500_points_and_not_for_the_newest_minute() -> None:
    found = job(promise("dd", HITS, {**HITS, "query": "sum:shop.ok{*}"}), DATADOG, 7)

    assert [(one.end - one.start) // 300 for one in found.asked] == [1500, 515]
    assert found.asked[-1].end == NOW - 300
    assert (found.calls, found.points) == (2, 2015 + 2)
    assert found.asked[0].good == "sum:shop.ok{*}.as_count()"


def test_cloudwatch_is_asked_for_a_week_in_one_call() -> None:
    found = job(promise("aws", METRIC, {**METRIC, "stat": "TC(:0.3)"}, threshold=Threshold(Decimal(300), "ms")), AWS, 7)

    assert (found.calls, found.gone, found.why) == (1, "", "")
    assert found.asked[0].end == NOW - 300


def test_slices_that_cloudwatch_has_deleted_are_missing_before_any_call() -> None:
    found = job(promise("aws", METRIC, METRIC), AWS, 65)
    older = job_of(promise("aws", METRIC, METRIC), {"aws": AWS}, (), None, (NOW - 90 * DAY, NOW - 70 * DAY, NOW))

    assert found.gone == "588 slices too old: the source keeps slices of 300 s for 63 days"
    assert found.asked[0].start == NOW - 63 * DAY + 3600
    assert (older.asked, older.calls) == ((), 0)
    assert older.why == "5,760 slices too old: the source keeps slices of 300 s for 63 days"


@pytest.mark.parametrize(
    ("objective", "source", "why"),
    [
        (promise("aws", {**METRIC, "stat": "p99"}, METRIC), AWS, 'the statistic "p99" is not a count'),
        (promise("aws", METRIC, METRIC, "Datadog"), AWS, "has the type Datadog, and its source is of kind cloudwatch"),
        (promise("dd", HITS, HITS, "Any"), DATADOG, "has the type Any, so no source can be asked"),
        (promise("", HITS, HITS, "Any"), DATADOG, "has the type Any, so no source can be asked"),
        (promise("dd", {"query": "avg:x{*}"}, HITS), DATADOG, "is not a query of one count"),
        (promise("dd", {**HITS, "sloId": "a/b"}, HITS), DATADOG, "is not an id of an SLO"),
        (promise("dd", METRIC, METRIC), DATADOG, "unknown field 'metricName'"),
        (
            promise("aws", METRIC, METRIC, method=Method.TIMESLICES, slice_s=50),
            AWS,
            "CloudWatch has no periods of 50 s",
        ),
        (
            promise(
                "dd",
                HITS,
                HITS,
                indicator=ThresholdIndicator(Query(), "lt", Decimal(1)),
                method=Method.TIMESLICES,
                slice_s=300,
            ),
            DATADOG,
            "write a ratioMetric",
        ),
    ],
)
def test_a_promise_that_its_source_cannot_count_is_missing_before_any_call(
    objective: Objective, source: Source, why: str
) -> None:
    found = job(objective, source, 7)

    assert why in found.why
    assert found.calls == 0


# -- programme.toml -----------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> dict[str, Source]:
    path = tmp_path / "programme.toml"
    path.write_text(text)
    return read_sources(path)


def test_each_kind_is_read_with_its_own_keys_and_its_late_time(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
[sources.aws]
kind = "cloudwatch"
region = "eu-west-1"
absent = "zero"
[sources.dd]
kind = "datadog"
site = "datadoghq.eu"
api_key_secret = "dd-api"
application_key_secret = "dd-app"
[sources.till]
kind = "parquet"
file = "counts.parquet"
zone = "Europe/Berlin"
gaps = "missing"
""",
    )

    assert {name: one.late_s for name, one in found.items()} == {"aws": 600, "dd": 900, "till": 0}
    assert found["aws"].absent_is_zero
    assert found["dd"].secrets == ("dd-api", "dd-app")
    assert KINDS["datadog"].where(found["dd"]) == "https://api.datadoghq.eu"
    assert (found["till"].zone, found["till"].takes_gaps) == ("Europe/Berlin", True)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('kind = "newrelic"', "kind: 'newrelic' is unknown"),
        ('kind = ["csv"]', "is unknown"),
        ('kind = "cloudwatch"\nregion = "Ireland"', "region: not the name of a region"),
        ('kind = "cloudwatch"\nabsent = "none"', "absent: unknown"),
        ('kind = "cloudwatch"\napi_key_secret = "x"', "unknown key 'api_key_secret'"),
        ('kind = "datadog"\nsite = "datadoghq.eu"\napi_key_secret = "a"', "application_key_secret is missing"),
        ('kind = "datadog"\napi_key_secret = "a"\napplication_key_secret = "b"', "it needs site or url"),
        (
            'kind = "datadog"\nurl = "http://proxy.example"\napi_key_secret = "a"\napplication_key_secret = "b"',
            "url: the keys would be sent without encryption",
        ),
        (
            'kind = "datadog"\nsite = "https://x/"\napi_key_secret = "a"\napplication_key_secret = "b"',
            "site: not the name of a site",
        ),
        ('kind = "parquet"\nfile = "c.parquet"\nzone = "Mars"', "zone: unknown"),
        ('kind = "parquet"', "file is missing"),
        ('kind = "csv"\nfile = "c.csv"\nzone = "UTC"', "unknown key 'zone'"),
    ],
)
def test_a_wrong_table_is_named_with_its_key(tmp_path: Path, table: str, why: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(tmp_path, f"[sources.a]\n{table}\n")

    assert any(why in fault.message for fault in caught.value.faults)
    assert all(fault.hint for fault in caught.value.faults)


def test_a_data_source_of_the_files_may_be_cloudwatch_but_has_no_keys_of_datadog() -> None:
    found = source_of("aws", {}, [DataSource("aws", "CloudWatch", '{"region": "eu-west-1"}')])
    other = source_of("dd", {}, [DataSource("dd", "Datadog")])

    assert isinstance(found, Source)
    assert (found.kind, found.region) == ("cloudwatch", "eu-west-1")
    assert other == (
        "the source dd has the type Datadog, which is not read from a DataSource: write [sources.dd] in programme.toml"
    )


def test_a_live_check_asks_for_the_same_number_of_whole_slices_at_each_second() -> None:
    for now in range(NOW, NOW + 301):
        (found,) = live_jobs([promise("aws", METRIC, METRIC)], {"aws": AWS}, (), now)
        (asked,) = found.asked
        assert asked.end - asked.start == SLICES * asked.width
        assert now - 480 < asked.end <= now - 180
