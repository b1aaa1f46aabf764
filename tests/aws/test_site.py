"""Nothing that is not ours is looked at twice, and nothing of it is changed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws.account.locks import KEY, held
from loadgen.aws.account.names import TAG_FLEET
from loadgen.aws.scale.scale_up import Terms, planned
from loadgen.errors import CloudDenied, CloudGone, CredentialsError, FleetError, UsageError
from tests.support.aws_fleet import Answers, Aws, site_of

ONE = Terms({"eu-west-1": 1})


def test_fleet_file_of_another_account_is_refused(aws: Aws, tmp_path: Path) -> None:
    made = aws.make_fleet() | {"account_id": "999999999999"}

    with pytest.raises(UsageError, match="is for account 999999999999, but the credentials are for 123456789012"):
        site_of(aws, made, tmp_path)


def test_bucket_without_the_fleets_tag_is_not_ours(aws: Aws, tmp_path: Path) -> None:
    made = aws.make_fleet()
    s3 = aws.clients.client("s3", "eu-west-1")
    s3.put_bucket_tagging(Bucket=made["bucket"], Tagging={"TagSet": [{"Key": TAG_FLEET, "Value": "other"}]})

    with pytest.raises(UsageError, match="bucket loadgen-shop-123456789012 belongs to fleet other, not to shop"):
        site_of(aws, made, tmp_path)
    s3.delete_bucket_tagging(Bucket=made["bucket"])
    with pytest.raises(UsageError, match="belongs to no fleet"):
        site_of(aws, made, tmp_path)


def test_bucket_that_is_not_there_is_told(aws: Aws, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bucket gone-away not found in eu-west-1"):
        site_of(aws, aws.make_fleet() | {"bucket": "gone-away"}, tmp_path)


def test_bucket_of_a_stranger_is_denied(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    answers.codes["GetBucketTagging", "eu-west-1"] = "AccessDenied"

    with pytest.raises(CloudDenied, match="cannot look at bucket"):
        site_of(aws, aws.make_fleet(), tmp_path)


def test_fleet_of_another_owner_is_left_alone(aws: Aws, tmp_path: Path) -> None:
    made = aws.make_fleet(owner="shop team") | {"owner": "perf team"}
    site = site_of(aws, made, tmp_path)

    with pytest.raises(ExceptionGroup) as caught:
        planned(site, ONE)

    assert len(caught.value.exceptions) == 2
    assert "has the owner shop team, but fleet.json names perf team" in str(caught.value.exceptions[0])


def test_group_that_is_not_there_is_told_with_its_region(aws: Aws, tmp_path: Path) -> None:
    made = aws.make_fleet(regions=("eu-west-1",))
    made["regions"] = {"us-east-1": made["regions"]["eu-west-1"]}

    with pytest.raises(UsageError, match="Auto Scaling group loadgen-shop-eu-west-1-agents not found in us-east-1"):
        planned(site_of(aws, made, tmp_path), ONE)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId"])
def test_credentials_that_are_over_or_wrong_are_told_first(
    aws: Aws, answers: Answers, tmp_path: Path, code: str
) -> None:
    made = aws.make_fleet()
    answers.codes["GetCallerIdentity", "*"] = code

    with pytest.raises(CredentialsError, match=f"cannot find out whose credentials these are: AWS returned {code}"):
        site_of(aws, made, tmp_path)


# -- the lock -------------------------------------------------------------------------------------


def lock(aws: Aws, made: dict[str, Any], by: str = "alice", **changes: Any) -> Any:
    given: dict[str, Any] = {"by": by, "doing": "up eu-west-1=3", "now": datetime.now(UTC), "lasts_s": 60.0} | changes
    return held(aws.clients, "eu-west-1", made["bucket"], **given)


def locks(aws: Aws, made: dict[str, Any]) -> list[str]:
    answer = aws.clients.client("s3", "eu-west-1").list_objects_v2(Bucket=made["bucket"])
    return [one["Key"] for one in answer.get("Contents", ())]


def test_second_hand_is_told_whose_the_first_is(aws: Aws) -> None:
    made = aws.make_fleet(regions=())

    told = "alice is changing this fleet now: up eu-west-1=3"
    with lock(aws, made), pytest.raises(FleetError, match=told), lock(aws, made, by="bob"):
        pass
    assert locks(aws, made) == []


def test_of_many_at_once_one_has_the_lock(aws: Aws) -> None:
    made, had, all_tried = aws.make_fleet(regions=()), list[str](), threading.Barrier(4)

    def take(by: str) -> None:
        try:
            with lock(aws, made, by=by):
                had.append(by)
                all_tried.wait()
        except FleetError:
            all_tried.wait()

    threads = [threading.Thread(target=take, args=(by,)) for by in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(had) == 1


def test_lock_of_one_who_died_ends_by_itself(aws: Aws) -> None:
    made, now = aws.make_fleet(regions=()), datetime.now(UTC)
    dead = lock(aws, made, now=now)
    dead.__enter__()

    with pytest.raises(FleetError), lock(aws, made, by="bob", now=now + timedelta(seconds=59)):
        pass
    with lock(aws, made, by="bob", now=now + timedelta(seconds=60)):
        assert locks(aws, made) == [KEY]


def test_lock_that_was_taken_away_is_not_given_free_by_its_old_owner(aws: Aws) -> None:
    made = aws.make_fleet(regions=())
    first, second = lock(aws, made), lock(aws, made, by="bob", by_force=True)
    first.__enter__()
    second.__enter__()

    first.__exit__(None, None, None)

    assert locks(aws, made) == [KEY]
    second.__exit__(None, None, None)
    assert locks(aws, made) == []


def test_region_that_does_not_answer_is_told_with_its_name(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    """Who names a region that there is not gets an address that nobody has."""
    from botocore.exceptions import EndpointConnectionError

    site = site_of(aws, aws.make_fleet(), tmp_path)

    def nowhere(operation: str, region: str) -> None:
        if (operation, region) == ("DescribeAutoScalingGroups", "us-east-1"):
            raise EndpointConnectionError(endpoint_url="https://autoscaling.us-east-1")

    answers.before = nowhere
    with pytest.raises(CloudGone, match="in us-east-1: EndpointConnectionError") as caught:
        planned(site, ONE)

    assert "check the network, the region" in caught.value.hint
