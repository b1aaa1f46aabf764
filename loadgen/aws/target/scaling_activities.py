"""Reads what AWS's automatic scaling did to the target around the time of a run, as marks on the run's clock.

Two services keep such a list: EC2 Auto Scaling for groups of machines, Application Auto Scaling for ECS services,
tables of DynamoDB and others. An activity is a mark with a start, an end if it has ended, and the reason that AWS
gives. Both lists go back six weeks and begin with the newest activity.

Everything blocks. Source: AWS, "DescribeScalingActivities" of both services.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.target.cloudwatch import REGION

__all__ = ["AROUND", "Mark", "Scaling", "faults_of_scaling", "fetch_marks"]

AROUND: Final = timedelta(minutes=5)
"""Activities within this time before or after the load are read, too: a machine that starts late can be the cause."""
_MARKS_MOST: Final = 500
_TEXT_MOST: Final = 500
_ERROR_S: Final = 1.0
"""AWS gives the times of activities in whole seconds."""
_RESOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,511}")


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[scaling]]` of the TOML file: a group of machines, or a resource of Application Auto Scaling."""

    name: str
    """The name of the marks on charts."""
    region: str
    group: str = ""
    """The name of an EC2 Auto Scaling group."""
    resource: str = ""
    """The id of a resource, such as "service/CLUSTER/SERVICE" or "table/NAME"."""
    service: str = "ecs"
    """The namespace of `resource`: "ecs", "dynamodb", "lambda" ..."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at the target, on the run's clock."""

    name: str
    """The scaled object: the name of its table in the file."""
    at_s: float
    """The start, seconds from T0; below 0 before the load."""
    length_s: float | None
    """The time from start to end; None: it had not ended when it was read."""
    error_s: float
    """The most by which the times may be off, besides the difference between the two clocks."""
    title: str
    """The activity in words, one line."""
    status: str
    """"Successful", "Failed", "InProgress" ..."""
    cause: str
    """AWS's reason."""


def faults_of_scaling(given: Sequence[Scaling]) -> Iterator[tuple[str, str]]:
    """Yield each error of the tables, and what to do about it."""
    for one in given:
        if not one.name.strip():
            yield "a [[scaling]] has an empty name", "give each of them a name"
        if not REGION.fullmatch(one.region):
            yield f'{one.name}: invalid region "{one.region}"', "use a name such as eu-west-1"
        if bool(one.group) == bool(one.resource):
            what = "both group and resource" if one.group else "neither group nor resource"
            yield f"{one.name}: {what}", 'write group = "NAME" or resource = "service/CLUSTER/SERVICE"'
        elif one.resource and not _RESOURCE.fullmatch(one.resource):
            yield f'{one.name}: invalid resource "{one.resource[:80]}"', 'write "service/CLUSTER/SERVICE"'


def fetch_marks(clients: Clients, wanted: Sequence[Scaling], t0: datetime, end: datetime) -> list[Mark]:
    """Return the activities that began in [t0 - AROUND, end + AROUND], ascending in time, at most 500 of each table.

    Raises:
        FleetError: a call to AWS fails.
        UsageError: a region does not exist.
    """
    marks = [mark for one in wanted for mark in _marks_of(clients, one, t0, end)]
    return sorted(marks, key=lambda mark: (mark.at_s, mark.name, mark.title))


def _marks_of(clients: Clients, one: Scaling, t0: datetime, end: datetime) -> Iterator[Mark]:
    count = 0
    for activity in _activities(clients, one):
        start: datetime = activity["StartTime"]
        if start < t0 - AROUND:
            return  # the list begins with the newest
        if start > end + AROUND:
            continue
        ended = activity.get("EndTime")
        yield Mark(
            name=one.name,
            at_s=round((start - t0).total_seconds(), 3),
            length_s=None if ended is None else round((ended - start).total_seconds(), 3),
            error_s=_ERROR_S,
            title=_line(activity.get("Description") or "scaling activity"),
            status=_line(activity["StatusCode"]),
            cause=_line(activity["Cause"]),
        )
        count += 1
        if count == _MARKS_MOST:
            return


def _activities(clients: Clients, one: Scaling) -> Iterator[dict[str, Any]]:
    """Yield the activities of one table, the newest first."""
    if one.group:
        client, key = clients.client("autoscaling", one.region), "Activities"
        asked: dict[str, Any] = {"AutoScalingGroupName": one.group, "IncludeDeletedGroups": True, "MaxRecords": 100}
    else:
        client, key = clients.client("application-autoscaling", one.region), "ScalingActivities"
        asked = {"ServiceNamespace": one.service, "ResourceId": one.resource, "MaxResults": 50}
    while True:
        with aws_errors(f"read the scaling activities of {one.name} in {one.region}"):
            page = client.describe_scaling_activities(**asked)
        yield from page.get(key, ())
        if not page.get("NextToken"):
            return
        asked["NextToken"] = str(page["NextToken"])


def _line(text: str) -> str:
    """Return a text of AWS as one line of bounded length."""
    return " ".join(text.split())[:_TEXT_MOST]
