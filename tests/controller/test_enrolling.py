"""Instances of the fleet are let in by the keys that they say, strangers are not, and who is gone is put out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.publish_agent_key import Enrolments
from loadgen.aws.scale.membership_check import living
from loadgen.errors import CloudGone, UsageError
from loadgen.wire.curve_keys import KeyPair, load_controller, read_agents
from loadgen.wire.key_folder_changes import add_agent, init_keys, revoke
from loadgen_controller.agents.aws_enrolment import RECHECK_S, Enroller, enroller_of
from tests.cli.test_commands import loadgen
from tests.support.aws import BUCKET, FLEET, REGION, client, emptied, isolated, made_fleet, running_aws

ROLE_ID = "AROA3X42LBCDZ1GYLQ1WX"
OTHER = "us-east-1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


class Stage:
    """A controller's folder of keys, an AWS, and a clock that jumps."""

    def __init__(self, url: str, keys: Path) -> None:
        self.url, self.keys = url, keys
        self.said: list[str] = []
        self.now_s = 0.0
        self.is_gone = False
        self.asked = 0
        self.enroller = self.again()

    def again(self) -> Enroller:
        """Of a controller that is started."""
        clients = Clients()

        def alive(region: str, instances: set[str]) -> set[str]:
            self.asked += 1
            if self.is_gone:
                raise CloudGone("cannot look: AWS is gone")
            return living(clients, region, FLEET, instances)

        board = Enrolments(clients, BUCKET, REGION)
        self.enroller = Enroller(self.keys, board, alive, self.said.append, lambda: self.now_s)
        return self.enroller

    def instance(self, fleet: str = FLEET, role: str = "agent", region: str = REGION) -> str:
        tags = [{"Key": "loadgen:fleet", "Value": fleet}, {"Key": "loadgen:role", "Value": role}]
        made = client(self.url, "ec2", region).run_instances(
            ImageId="ami-12345678",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return str(made["Instances"][0]["InstanceId"])

    def say(self, instance: str, at: str = REGION, more: dict[str, object] | None = None) -> bytes:
        """As the agent on the instance does; its public key."""
        public = KeyPair.new().public
        said = {
            "format": 1,
            "agent": instance,
            "public_key": public.decode(),
            "instance_id": instance,
            "region": at,
        }
        body = json.dumps(said | (more or {})).encode()
        client(self.url, "s3").put_object(Bucket=BUCKET, Key=f"enroll/{ROLE_ID}:{instance}", Body=body)
        return public

    def terminate(self, instance: str) -> None:
        client(self.url, "ec2").terminate_instances(InstanceIds=[instance])

    def look(self, later_s: float = 3.0) -> dict[bytes, str]:
        """Who is in after another look."""
        self.now_s += later_s
        self.enroller.look()
        agents, wrong = read_agents(self.keys)
        assert not wrong
        return dict(agents)


@pytest.fixture
def stage(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    isolated(monkeypatch, tmp_path, emptied(server))
    init_keys(tmp_path / "keys")
    made_fleet(server, "127.0.0.1:5557", load_controller(tmp_path / "keys", agents_come_later=True).own.public)
    return Stage(server, tmp_path / "keys")


def test_instances_of_the_fleet_are_let_in_wherever_they_are(stage: Stage) -> None:
    here, there = stage.instance(), stage.instance(region=OTHER)
    keys = {stage.say(here): here, stage.say(there, OTHER): there}
    assert stage.look() == keys
    before = stage.asked
    assert stage.look() == keys
    assert (stage.asked, stage.said) == (before, [])  # who is in is not asked for at each look
    assert load_controller(stage.keys).agents == keys


@pytest.mark.parametrize("tags", [{"fleet": "other"}, {"role": "controller"}])
def test_instance_that_is_no_agent_of_the_fleet_stays_out_and_is_named_in_the_end(
    stage: Stage, tags: dict[str, str]
) -> None:
    stranger = stage.instance(**tags)
    stage.say(stranger)
    assert stage.look() == stage.look() == {}
    assert stage.said == []  # its tags may only be late
    assert stage.look(70) == stage.look(70) == {}
    assert stage.said == [f"{stranger} in {REGION} is not a running instance of this fleet: its key is not admitted"]


def test_instance_whose_tags_come_late_is_let_in_then(stage: Stage) -> None:
    late = stage.instance("nobody")
    public = stage.say(late)
    assert stage.look() == {}
    client(stage.url, "ec2").create_tags(Resources=[late], Tags=[{"Key": "loadgen:fleet", "Value": FLEET}])
    assert stage.look() == {public: late}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{"public_key": "x"}, {"region": "evil.example/"}, {"instance_id": "i-0999999999", "agent": "i-0999999999"}]
)
def test_what_is_no_enrolment_is_told_once_and_lets_in_nobody(stage: Stage, more: dict[str, object]) -> None:
    stage.say(stage.instance(), more=more)
    good = stage.instance()
    public = stage.say(good)
    assert stage.look() == stage.look() == {public: good}
    (told,) = stage.said
    assert "admits no agent" in told


def test_who_is_gone_is_put_out_and_forgotten_and_not_for_a_single_look(stage: Stage) -> None:
    goes, stays = stage.instance(), stage.instance()
    stage.say(goes)
    public = stage.say(stays)
    assert len(stage.look()) == 2
    stage.terminate(goes)
    assert len(stage.look()) == 2
    assert len(stage.look(RECHECK_S)) == 2  # EC2 may have been wrong for once
    assert stage.look(RECHECK_S) == {public: stays}
    there = client(stage.url, "s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [one["Key"] for one in there] == [f"enroll/{ROLE_ID}:{stays}"]
    assert not list((stage.keys / "revoked").iterdir())


def test_instance_with_a_new_disk_has_a_new_key_and_its_old_one_is_of_no_more_use(stage: Stage) -> None:
    instance = stage.instance()
    stage.say(instance)
    stage.look()
    public = stage.say(instance)
    assert stage.look() == {public: instance}


def test_key_that_a_person_revoked_stays_out(stage: Stage) -> None:
    instance = stage.instance()
    stage.say(instance)
    stage.look()
    revoke(stage.keys, instance)
    assert stage.look() == {}
    stage.again()
    assert stage.look() == stage.look(RECHECK_S) == {}
    assert not (stage.keys / f"agents/{instance}.pub").exists()


@pytest.mark.slow
def test_controller_that_is_started_again_keeps_who_is_there_and_puts_out_who_went_meanwhile(stage: Stage) -> None:
    goes, stays = stage.instance(), stage.instance()
    stage.say(goes)
    public = stage.say(stays)
    add_agent(stage.keys, "frankfurt")  # by hand: none of ours
    assert len(stage.look()) == 3
    client(stage.url, "s3").delete_object(Bucket=BUCKET, Key=f"enroll/{ROLE_ID}:{goes}")
    stage.again()
    assert len(stage.look()) == 3
    found = stage.look()
    assert (found[public], sorted(found.values())) == (stays, ["frankfurt", stays])


def test_aws_that_is_gone_changes_nothing_and_is_told_once_a_minute(stage: Stage) -> None:
    instance = stage.instance()
    public = stage.say(instance)
    stage.look()
    stage.is_gone = True
    assert stage.look(RECHECK_S) == stage.look(RECHECK_S / 2) == {public: instance}
    assert stage.said == ["cannot look: AWS is gone"]
    stage.is_gone = False
    assert stage.look(RECHECK_S) == {public: instance}


def test_region_that_does_not_answer_keeps_no_other_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.say("i-0123456789abcdef0", "xx-nowhere-1")
    here = stage.instance()
    public = stage.say(here)
    clients = Clients()

    def alive(region: str, instances: set[str]) -> set[str]:
        if region != REGION:
            raise CloudGone(f"nobody answers in {region}")
        return living(clients, region, FLEET, instances)

    monkeypatch.setattr(stage.enroller, "_alive", alive)
    assert stage.look() == stage.look() == {public: here}
    assert stage.said == ["nobody answers in xx-nowhere-1"]


def test_without_a_region_it_is_said_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolated(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="region of the fleet's bucket is unknown"):
        enroller_of(tmp_path, FLEET, BUCKET, lambda _: None)


def test_options_of_enrolment_belong_together(tmp_path: Path) -> None:
    init_keys(tmp_path / "keys")
    for only in (("--enroll", FLEET), ("--bucket", BUCKET)):
        result = loadgen("controller", "--keys", tmp_path / "keys", *only)
        assert (result.exit_code, "--enroll and --bucket must be given together" in result.stderr) == (2, True)
