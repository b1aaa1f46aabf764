"""A key that is made on an instance is told to its controller; what is no instance's own is not believed."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.imds import Instance
from loadgen.aws.publish_agent_key import Enrolled, Enrolments, enrol, own_pair
from loadgen.errors import CloudError, UsageError
from loadgen.wire.curve_keys import KeyPair
from tests.support.aws import BUCKET, REGION, client, emptied, isolated, made_fleet, role_of, running_aws
from tests.support.imds import running_imds

PUBLIC = KeyPair.new().public
ROLE_ID = "AROA3X42LBCDZ1GYLQ1WX"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    isolated(monkeypatch, tmp_path, emptied(server), keys=False)
    made_fleet(server, "127.0.0.1:5557", PUBLIC)
    return server


def test_pair_is_made_once_for_each_instance_and_is_for_its_user_alone(tmp_path: Path) -> None:
    pair = own_pair(tmp_path / "keys", "i-0abc")
    path = tmp_path / "keys/agents/i-0abc.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert own_pair(tmp_path / "keys", "i-0abc") == pair
    assert own_pair(tmp_path / "keys", "i-0abd") != pair  # an image of the machine was started as another instance
    path.chmod(0o644)
    with pytest.raises(UsageError, match="others may read it"):
        own_pair(tmp_path / "keys", "i-0abc")


def test_instance_writes_its_key_under_its_own_user_id(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_imds() as imds:
        role_of(url, imds)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url)
        clients, instance = Clients(), Instance(imds.instance_id, REGION)
        where = enrol(clients, BUCKET, instance, PUBLIC)
        assert where.endswith(f":{imds.instance_id}")  # of the role's part moto makes another one each time
        there = Enrolments(clients, BUCKET, REGION)
        (name,) = marks = there.marks()
        found = there.read(name)
        assert found.said == Enrolled(imds.instance_id, PUBLIC.decode(), imds.instance_id, REGION)
        assert (f"enroll/{found.name}", found.mark) == (where, marks[name])
        with pytest.raises(UsageError, match="not those of the role of i-0999"):
            enrol(clients, BUCKET, Instance("i-0999", REGION), PUBLIC)
        there.forget(name)
        assert there.marks() == {}


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        (f"{ROLE_ID}:i-0123456789abcdef0", {"public_key": "short"}, "it must have 40 characters of Z85"),
        (f"{ROLE_ID}:i-0123456789abcdef0", {"format": 2}, "format 2"),
        (f"{ROLE_ID}:i-0123456789abcdef0", {"agent": "frankfurt"}, "its instance id differs from the instance"),
        (f"{ROLE_ID}:i-0123456789abcdef0", {"region": 7}, "Expected `str`"),
        (f"{ROLE_ID}:i-0123456789abcdef9", {}, "its instance id differs from the instance"),
        ("../../i-0123456789abcdef0", {}, "its instance id differs from the instance"),
        (
            f"{ROLE_ID}:alice@example.com",
            {"agent": "alice@example.com", "instance_id": "alice@example.com"},
            "its instance id differs",
        ),
        (f"{ROLE_ID}:i-0123456789abcdef0", {"more": "x" * 5000}, "more than 4096 bytes"),
    ],
)
def test_what_speaks_for_another_or_is_no_key_is_not_believed(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, more: dict[str, object], why: str
) -> None:
    isolated(monkeypatch, tmp_path, url)
    said = {
        "format": 1,
        "agent": "i-0123456789abcdef0",
        "public_key": PUBLIC.decode(),
        "instance_id": "i-0123456789abcdef0",
        "region": REGION,
    }
    client(url, "s3").put_object(Bucket=BUCKET, Key=f"enroll/{name}", Body=json.dumps(said | more).encode())
    found = Enrolments(Clients(), BUCKET, REGION).read(name)
    assert found.said is None
    assert why in found.wrong


def test_bucket_that_is_not_there_is_told(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolated(monkeypatch, tmp_path, url)
    with pytest.raises(CloudError, match="cannot list s3://no-such-bucket/enroll/: AWS returned NoSuchBucket"):
        Enrolments(Clients(), "no-such-bucket", REGION).marks()
