"""The metadata service of an instance, as our tests play it: botocore believes it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from tests.support.imds import ROLE, TOKEN_HEADER, TTL_HEADER, Imds, running_imds


def asked(imds: Imds, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"{imds.url}/latest/{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
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
