"""What automatic scaling did to the target, as marks on the run's clock. botocore validates each made-up answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from loadgen.aws.target.metrics_file import read_metrics_file
from loadgen.aws.target.scaling_activities import Scaling, fetch_marks
from loadgen.errors import CloudDenied, UsageError
from tests.support.aws import REGION

T0 = datetime(2026, 11, 26, 14, 0, 20, tzinfo=UTC)
END = T0 + timedelta(minutes=10)
GROUP = Scaling(name="shop", region=REGION, group="shop-asg")
SERVICE = Scaling(name="web", region=REGION, resource="service/prod/web")


class Stubbed:
    """Clients whose services answer with these pages in turn, or with this error."""

    def __init__(self, *pages: dict[str, Any], error: str = "") -> None:
        self.pages, self.error, self.asked = pages, error, list[dict[str, Any]]()

    def client(self, service: str, region: str) -> Any:
        made: Any = boto3.client(service, region_name=region, aws_access_key_id="x", aws_secret_access_key="y")
        stub = Stubber(made)
        for page in self.pages:
            stub.add_response("describe_scaling_activities", page)
        if self.error:
            stub.add_client_error("describe_scaling_activities", self.error, "of AWS", 403)
        stub.activate()
        made.meta.events.register(
            "provide-client-params.*.DescribeScalingActivities", lambda params, **_: self.asked.append(dict(params))
        )
        return made


def of_group(at_s: float, title: str = "Launching a new EC2 instance: i-1", end_s: float | None = 40) -> dict[str, Any]:
    started = T0 + timedelta(seconds=at_s)
    end = {} if end_s is None else {"EndTime": started + timedelta(seconds=end_s), "Progress": 100}
    return {
        "ActivityId": f"{at_s}",
        "AutoScalingGroupName": "shop-asg",
        "Description": title,
        "Cause": "At 14:01:00Z a monitor alarm\n  was in state ALARM",
        "StartTime": started,
        "StatusCode": "InProgress" if end_s is None else "Successful",
        **end,
    }


def of_service(at_s: float) -> dict[str, Any]:
    return {
        "ActivityId": f"{at_s}",
        "ServiceNamespace": "ecs",
        "ResourceId": "service/prod/web",
        "ScalableDimension": "ecs:service:DesiredCount",
        "Description": "Setting desired count to 4.",
        "Cause": "monitor alarm TargetTracking",
        "StartTime": T0 + timedelta(seconds=at_s),
        "StatusCode": "Successful",
    }


def test_activity_of_a_group_is_a_mark_on_the_clock_of_the_run() -> None:
    aws = Stubbed({"Activities": [of_group(61, end_s=None), of_group(-30)]})
    first, second = fetch_marks(aws, [GROUP], T0, END)  # type: ignore[arg-type]
    assert (first.name, first.at_s, first.length_s, first.error_s) == ("shop", -30, 40, 1)
    assert (second.at_s, second.length_s, second.status) == (61, None, "InProgress")
    assert second.cause == "At 14:01:00Z a monitor alarm was in state ALARM"
    assert aws.asked == [{"AutoScalingGroupName": "shop-asg", "IncludeDeletedGroups": True, "MaxRecords": 100}]


def test_activities_of_a_service_come_from_application_auto_scaling() -> None:
    aws = Stubbed({"ScalingActivities": [of_service(5)]})
    (mark,) = fetch_marks(aws, [SERVICE], T0, END)  # type: ignore[arg-type]
    assert (mark.name, mark.at_s, mark.title) == ("web", 5, "Setting desired count to 4.")
    assert aws.asked == [{"ServiceNamespace": "ecs", "ResourceId": "service/prod/web", "MaxResults": 50}]


def test_pages_are_read_until_an_activity_is_older_than_five_minutes_before_the_load() -> None:
    newest = of_group(901)  # the load ended at 600 s
    aws = Stubbed(
        {"Activities": [newest, of_group(900)], "NextToken": "more"},
        {"Activities": [of_group(-300), of_group(-301)], "NextToken": "never used"},
    )
    assert [mark.at_s for mark in fetch_marks(aws, [GROUP], T0, END)] == [-300, 900]  # type: ignore[arg-type]
    assert [one.get("NextToken") for one in aws.asked] == [None, "more"]


def test_missing_permission_is_named() -> None:
    with pytest.raises(CloudDenied, match="read the scaling activities of shop in eu-west-1"):
        fetch_marks(Stubbed(error="AccessDenied"), [GROUP], T0, END)  # type: ignore[arg-type]


def test_file_can_list_scaling_without_metrics(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('[[scaling]]\nname = "shop"\nregion = "eu-west-1"\ngroup = "shop-asg"\n')
    assert read_metrics_file(path).scaling == (GROUP,)


def test_all_errors_of_scaling_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(
        '[[scaling]]\nname = "a"\nregion = "eu-west-1"\n'
        '[[scaling]]\nname = "b"\nregion = "nowhere"\ngroup = "x"\nresource = "y"\n'
        '[[scaling]]\nname = "c"\nregion = "eu-west-1"\nresource = "../x"\n'
    )
    with pytest.raises(ExceptionGroup) as caught:
        read_metrics_file(path)
    assert all(isinstance(one, UsageError) for one in caught.value.exceptions)
    assert [str(one).partition("m.toml: ")[2] for one in caught.value.exceptions] == [
        "a: neither group nor resource",
        'b: invalid region "nowhere"',
        "b: both group and resource",
        'c: invalid resource "../x"',
    ]
