"""Metrics of the target: read over a run, on its clock, with what is missing left missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws.target.cloudwatch import Measured, Wanted, fetch
from loadgen.aws.target.metrics_file import read_metrics_file
from loadgen.errors import CloudDenied, CloudError, ExitCode, UsageError
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.sources.asked import Asked
from loadgen.programme.sources.cloudwatch import CloudWatchSource
from loadgen.programme.sources.cloudwatch_answers import MetricQuery
from tests.cli.test_commands import loadgen
from tests.support.aws import REGION, client, emptied, isolated, running_aws

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
T0 = datetime(2026, 11, 26, 14, 0, 20, tzinfo=UTC)
P99 = Wanted(
    "p99", REGION, "AWS/ApplicationELB", "TargetResponseTime", "p99", dimensions={"LoadBalancer": "app/shop/1"}
)


class Scripted:
    """Clients whose CloudWatch answers page by page from what it is given, as AWS documents it."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages, self.asked = list(pages), list[dict[str, Any]]()

    def client(self, service: str, region: str) -> Any:
        import boto3
        from botocore.stub import Stubber

        made = boto3.client(service, region_name=region, aws_access_key_id="x", aws_secret_access_key="y")
        stub = Stubber(made)  # which holds each answer against the service's own description
        for page in self.pages:
            stub.add_response("get_metric_data", page)
        stub.activate()
        made.meta.events.register(
            "provide-client-params.*.GetMetricData", lambda params, **_: self.asked.append(params)
        )
        return made


def points(n: int, *at: tuple[int, float], status: str = "Complete", **more: str) -> dict[str, Any]:
    """A page with one result: (seconds after 14:00, value)."""
    hour = datetime(2026, 11, 26, 14, tzinfo=UTC)
    result = {
        "Id": f"m{n}",
        "StatusCode": status,
        "Timestamps": [hour + timedelta(seconds=second) for second, _ in at],
        "Values": [value for _, value in at],
    }
    return {"MetricDataResults": [result], **more}


def fetched(aws: Any, *wanted: Wanted, seconds: float = 150) -> list[Measured]:
    return fetch(aws, wanted, T0, T0 + timedelta(seconds=seconds))


def test_periods_are_those_of_cloudwatch_on_the_clock_of_the_run_and_gaps_stay_gaps() -> None:
    aws = Scripted(points(0, (0, 0.21), (120, 0.4)))
    (found,) = fetched(aws, P99)
    assert list(found.at_s) == [-20, 40, 100]
    assert (list(found.values), found.missing) == ([0.21, None, 0.4], 1)
    (asked,) = aws.asked
    assert (asked["StartTime"], asked["EndTime"]) == (T0 - timedelta(seconds=20), T0 + timedelta(seconds=160))
    (query,) = asked["MetricDataQueries"]
    assert query["MetricStat"]["Stat"] == "p99"


def test_answer_that_comes_in_pages_is_put_together() -> None:
    aws = Scripted(points(0, (0, 1), status="PartialData", NextToken="more"), points(0, (60, 2), (120, 3)))
    (found,) = fetched(aws, P99)
    assert list(found.values) == [1, 2, 3]
    assert [one.get("NextToken") for one in aws.asked] == [None, "more"]


def test_more_than_500_metrics_are_asked_for_in_several_calls_and_each_region_by_itself() -> None:
    many = [Wanted(f"n{n}", REGION, "Shop", f"n{n}", "Sum") for n in range(501)]
    aws = Scripted({"MetricDataResults": []}, {"MetricDataResults": []})
    fetched(aws, *many, Wanted("there", "us-east-1", "Shop", "n", "Sum"))
    assert [len(one["MetricDataQueries"]) for one in aws.asked] == [500, 1, 1]


def test_more_points_than_a_call_may_have_are_asked_for_in_several() -> None:
    fine = [Wanted(f"n{n}", REGION, "Shop", f"n{n}", "Sum", 1) for n in range(5)]
    aws = Scripted(*[{"MetricDataResults": []}] * 3)
    fetched(aws, *fine, seconds=40_000)
    assert [len(one["MetricDataQueries"]) for one in aws.asked] == [2, 2, 1]


@pytest.mark.parametrize(("status", "kind"), [("Forbidden", CloudDenied), ("InternalError", CloudError)])
def test_metric_that_may_not_or_cannot_be_read_is_an_error_and_not_a_gap(status: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"cannot read p99 in {REGION}: AWS returned {status}"):
        fetched(Scripted(points(0, status=status)), P99)


# -- the file -----------------------------------------------------------------------------------------

GOOD = """
[[metric]]
name = "target p99"
region = "eu-west-1"
namespace = "AWS/ApplicationELB"
metric = "TargetResponseTime"
statistic = "p99"
unit = "s"
dimensions = { LoadBalancer = "app/shop/1" }
"""


def test_file_of_metrics_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(GOOD)
    (one,) = read_metrics_file(tmp_path / "m.toml").metrics
    assert (one.name, one.statistic, one.period_s, one.dimensions) == (
        "target p99",
        "p99",
        60,
        {"LoadBalancer": "app/shop/1"},
    )


@pytest.mark.parametrize("statistic", ["PR(:0.3)", "TC(:0.3)", "TC(0.1:)", "TS(10%:90%)", "p99.9"])
def test_ranges_and_percentiles_are_statistics(tmp_path: Path, statistic: str) -> None:
    (tmp_path / "m.toml").write_text(GOOD.replace('"p99"', f'"{statistic}"'))

    assert read_metrics_file(tmp_path / "m.toml").metrics[0].statistic == statistic


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("p99", "p100.5", "invalid statistic"),
        ("p99", "TC(:)", "invalid statistic"),
        ('"p99"', '"Mean"', 'invalid statistic "Mean"'),
        ("eu-west-1", "Ireland", 'invalid region "Ireland"'),
        ('unit = "s"', "period_s = 90", "invalid period_s 90"),
        ('unit = "s"', "period = 60", "unknown field `period`"),
        ('statistic = "p99"', "", "missing required field `statistic`"),
        ("[[metric]]", "[[metrics]]", "unknown key metrics"),
        ("[[metric]]", "[[metric]", "is not valid TOML"),
    ],
)
def test_fault_in_the_file_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    path = tmp_path / "m.toml"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises((UsageError, ExceptionGroup)) as caught:
        read_metrics_file(path)
    error = caught.value
    assert told in "\n".join(map(str, error.exceptions if isinstance(error, ExceptionGroup) else [error]))


def test_two_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(GOOD + GOOD.replace("eu-west-1", "x"))
    with pytest.raises(ExceptionGroup) as caught:
        read_metrics_file(tmp_path / "m.toml")
    assert {str(one).partition(": ")[2] for one in caught.value.exceptions} == {
        'two metrics have the name "target p99"',
        'target p99: invalid region "x"',
    }


# -- the command --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    isolated(monkeypatch, tmp_path, emptied(server))
    return server


def test_metrics_of_a_run_are_written_into_its_folder(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20261124-170312-browse-0001"
    shutil.copytree(OLD, folder)
    summary = json.loads((folder / "summary.json").read_text())
    t0 = datetime.fromisoformat(summary["started_at"])
    client(url, "cloudwatch").put_metric_data(
        Namespace="Shop", MetricData=[{"MetricName": "Orders", "Timestamp": t0, "Value": 7.0}]
    )
    file = tmp_path / "m.toml"
    file.write_text(
        '[[metric]]\nname = "orders"\nregion = "eu-west-1"\nnamespace = "Shop"\nmetric = "Orders"\nstatistic = "Sum"\n'
    )
    result = loadgen("runs", "metrics", "last", file, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    told = json.loads((folder / "metrics.json").read_text())
    (metric,) = told["metrics"]
    assert (told["format"], metric["name"], metric["values"][0]) == (1, "orders", 7)
    assert -60 < metric["at_s"][0] <= 0
    assert len(metric["values"]) == len(metric["at_s"])


def test_all_that_is_wrong_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    result = loadgen("runs", "metrics", "none", tmp_path / "none.toml", "--runs-dir", tmp_path)
    assert result.exit_code == ExitCode.USAGE
    assert "cannot read" in result.stderr
    assert "none" in result.stderr


# -- counts of production -----------------------------------------------------------------------------

ARN = "arn:aws:application-signals:eu-west-1:123456789012:slo/checkout"
REPORT = {"Arn": ARN, "Name": "checkout", "BudgetStatus": "OK", "Attainment": 99.625}

PROMISE = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-fast
  annotations: {loadgen.dev/owner: payments@shop.example, loadgen.dev/source: aws}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.995}]
  indicator:
    metadata: {name: ratio}
    spec:
      ratioMetric:
        counter: false
        bad: {metricSource: {type: CloudWatch, spec: {namespace: Shop, metricName: Errors, stat: Sum}}}
        total: {metricSource: {type: CloudWatch, spec: {namespace: Shop, metricName: Requests, stat: Sum}}}
"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"Reports": [REPORT], "Errors": []}, "is 99.6250 %, over its own window, and with its own exclusions"),
        (
            {"Reports": [{**REPORT, "Attainment": None, "BudgetStatus": "INSUFFICIENT_DATA"}], "Errors": []},
            "has no data: INSUFFICIENT_DATA",
        ),
        (
            {
                "Reports": [],
                "Errors": [{"Name": "checkout", "Arn": ARN, "ErrorCode": "404", "ErrorMessage": "not found"}],
            },
            "is missing: 404",
        ),
    ],
)
def test_the_figure_of_application_signals_stands_beside_ours(answer: dict[str, Any], said: str) -> None:
    import boto3
    from botocore.stub import Stubber

    made = {
        name: boto3.client(name, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="y")
        for name in ("cloudwatch", "application-signals")
    }
    start = 1_784_505_600
    results = [
        {"Id": role, "StatusCode": "Complete", "Timestamps": [datetime.fromtimestamp(start, UTC)], "Values": [value]}
        for role, value in (("total", 10.0), ("good", 9.0))
    ]
    cloudwatch, signals = (Stubber(one) for one in made.values())
    cloudwatch.add_response("get_metric_data", {"MetricDataResults": results})
    reports = [{k: v for k, v in one.items() if v is not None} for one in answer["Reports"]]
    signals.add_response(
        "batch_get_service_level_objective_budget_report",
        {"Timestamp": datetime.fromtimestamp(start + 300, UTC), **answer, "Reports": reports},
        {"Timestamp": datetime.fromtimestamp(start + 300, UTC), "SloIds": ["checkout"]},
    )
    cloudwatch.activate()
    signals.activate()

    class Stubbed:
        def client(self, service: str, _region: str) -> Any:
            return made[service]

    query = MetricQuery(REGION, "Shop", "Requests", "Sum").text
    clients: Any = Stubbed()
    pulled = CloudWatchSource(open_clients=lambda: clients).pull(
        Asked("fast", query, query, "", start, start + 300, 300, "checkout")
    )

    assert [(one.good, one.total) for one in pulled.slices] == [(9, 10)]
    assert pulled.notes == (f"the figure of Application Signals for the SLO checkout {said}",)
    assert pulled.calls == 2


def test_counts_of_a_promise_are_pulled_from_cloudwatch(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos/checkout.yaml").write_text(PROMISE)
    settings = '[sources.aws]\nkind = "cloudwatch"\nregion = "eu-west-1"\nabsent = "zero"\n'
    (tmp_path / "programme.toml").write_text(settings)
    now = datetime.now(UTC).timestamp()
    first = datetime.fromtimestamp((now - 180) // 300 * 300 - 900, UTC)
    data = [
        {"MetricName": name, "Timestamp": first + timedelta(seconds=300 * n + 60), "Value": value}
        for name, values in (("Requests", (100.0, 120.0, 80.0)), ("Errors", (0.0, 3.0, 0.0)))
        for n, value in enumerate(values)
        if value
    ]
    client(url, "cloudwatch").put_metric_data(Namespace="Shop", MetricData=data)

    live = loadgen("slo", "check", "--live")
    planned = loadgen("slo", "pull", "--from", "1h", "--plan")
    pulled = loadgen("slo", "pull", "--from", "1h")

    assert live.exit_code == 0, live.output
    assert "aws has 12 slices of 12: 297 of 300 requests were good" in live.output
    assert "1 call" in planned.output
    assert "CloudWatch eu-west-1" in planned.output
    assert pulled.exit_code == 0, pulled.output
    start = int(first.timestamp())
    found = Ledger.open("history").read(start, start + 900).slices("checkout-fast")
    assert [(one.good, one.total, one.estimated) for one in found] == [
        (100, 100, False),
        (117, 120, False),
        (80, 80, False),
    ]
    assert "CloudWatch eu-west-1: total Sum of Shop Requests, bad Sum of Shop Errors" in found[0].evidence
