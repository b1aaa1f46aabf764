"""The metadata service of an instance: as our tests play it, which botocore believes, and as our client asks it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from loadgen.aws import imds as ours
from loadgen.aws.imds import Instance, Notice
from loadgen.errors import FleetError, UsageError
from tests.support.imds import ROLE, TOKEN_HEADER, TTL_HEADER, Imds, running_imds


def asked(imds: Imds, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"{imds.url}/latest/{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_botocore_finds_credentials_and_region_of_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_imds(region="ap-south-1") as imds:
        config = {"ec2_metadata_service_endpoint": imds.url}
        found = InstanceMetadataFetcher(num_attempts=1, config=config).retrieve_iam_role_credentials()
        assert (found["role_name"], found["access_key"]) == (ROLE, "ASIATEST")
        assert InstanceMetadataRegionFetcher(num_attempts=1, config=config).retrieve_region() == "ap-south-1"


def test_nothing_is_said_without_a_token_and_no_notice_before_it_is_armed() -> None:
    with running_imds("i-0abc") as imds:
        assert asked(imds, "meta-data/instance-id", {})[0] == 401
        assert asked(imds, "api/token", {TTL_HEADER: "99999"}, "PUT")[0] == 400
        forwarded = {TTL_HEADER: "60", "X-Forwarded-For": "1.2.3.4"}
        assert asked(imds, "api/token", forwarded, "PUT")[0] == 403
        _, token = asked(imds, "api/token", {TTL_HEADER: "60"}, "PUT")
        good = {TOKEN_HEADER: token}
        assert asked(imds, "meta-data/instance-id", good) == (200, "i-0abc")
        assert asked(imds, "meta-data/spot/instance-action", good)[0] == 404
        assert asked(imds, "meta-data/events/recommendations/rebalance", good)[0] == 404
        imds.arm_spot()
        status, text = asked(imds, "meta-data/spot/instance-action", good)
        assert (status, '"terminate"' in text) == (200, True)
        imds.tokens.clear()
        assert asked(imds, "meta-data/instance-id", good)[0] == 401


def test_notice_names_a_time_to_come() -> None:
    imds = Imds()
    imds.arm_spot(in_s=120)
    named = datetime.strptime(json.loads(imds.meta["spot/instance-action"])["time"], "%Y-%m-%dT%H:%M:%SZ")
    assert named.replace(tzinfo=UTC) > datetime.now(UTC) + timedelta(seconds=60)


# -- our client -------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "TRIES", 1)


def test_instance_knows_who_it_is_and_of_which_fleet_where_it_may_see_its_tags() -> None:
    with running_imds("i-0abc", "sa-east-1") as imds:
        assert ours.Imds(imds.url).instance() == Instance("i-0abc", "sa-east-1", type="c7i.xlarge")
        imds.meta["tags/instance/loadgen:fleet"] = "shop"
        assert ours.Imds(imds.url).instance() == Instance("i-0abc", "sa-east-1", "shop", "c7i.xlarge")
        del imds.meta["instance-type"]
        assert ours.Imds(imds.url).instance().type == "", "it is nothing to start an agent for"


def test_one_token_serves_for_all_questions_and_one_that_is_over_is_renewed() -> None:
    with running_imds() as imds:
        asking = ours.Imds(imds.url)
        assert asking.notices() == () == asking.notices()
        assert len(imds.tokens) == 1
        imds.tokens = {"another"}
        assert asking.get("instance-id") == imds.instance_id
        assert len(imds.tokens) == 2


def test_notices_come_with_their_time_and_the_most_urgent_first() -> None:
    with running_imds() as imds:
        asking = ours.Imds(imds.url)
        imds.meta["events/recommendations/rebalance"] = '{"noticeTime": "2026-11-26T14:00:00Z"}'
        imds.meta["spot/instance-action"] = '{"action": "terminate", "time": "2026-11-26T14:03:20Z"}'
        imds.arm_termination()
        spot, group, rebalance = asking.notices()
        assert spot == Notice("spot", datetime(2026, 11, 26, 14, 3, 20, tzinfo=UTC))
        assert spot.reason == "AWS takes the spot instance back at 14:03:20 UTC"
        assert (group.kind, rebalance.kind) == ("group", "rebalance")


@pytest.mark.parametrize("text", ["", "{}", "soon", '{"action": "stop", "time": 7}'])
def test_notice_that_cannot_be_read_is_a_notice_all_the_same(text: str) -> None:
    with running_imds() as imds:
        imds.meta["spot/instance-action"] = text
        assert ours.Imds(imds.url).notices() == (Notice("spot"),)


def test_elsewhere_than_on_ec2_it_says_so(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="this machine is not an EC2 instance: no answer"):
        ours.Imds("http://127.0.0.1:1").instance()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "file:///etc/passwd")
    with pytest.raises(UsageError, match="invalid AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        ours.Imds()


@pytest.mark.parametrize("status", [403, 500])
def test_service_that_is_switched_off_or_broken_is_no_notice_and_no_silence(quick: None, status: int) -> None:
    with running_imds() as imds:
        imds.status = status
        with pytest.raises(FleetError, match=str(status)):
            ours.Imds(imds.url).notices()
