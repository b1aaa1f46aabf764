"""An agent on EC2: it finds everything by itself, leaves before its instance does, and stops when the flag says so."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.parameters import Hidden, Parameters
from loadgen.aws.imds import Imds, Instance
from loadgen.aws.publish_agent_key import Enrolled, own_pair
from loadgen.errors import CloudGone, CredentialsError, ExitCode, LoadgenError, UsageError
from loadgen.wire.curve_keys import AgentKeys, ControllerKeys, KeyPair
from loadgen.wire.messages import Hello
from loadgen_agent.ec2_agent import Arrived, Sentry, Wanted, arrive, give_secrets
from tests.support import imds as fake
from tests.support.aws import BUCKET, FLEET, REGION, client, emptied, isolated, made_fleet, role_of, running_aws
from tests.support.fake_controller import FakeController
from tests.support.imds import running_imds
from tests.support.wire import serving, until

CANARY = "canary-of-the-fleet"


LAST_PATH = "/latest/meta-data/events/recommendations/rebalance"
"""What a look at the instance asks for last."""


class Agent:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.cut: list[str] = []

    def terminate(self, reason: str) -> None:
        self.left.append(reason)

    def cut_off(self, reason: str) -> None:
        self.cut.append(reason)


class Store:
    """Parameters by script: each an answer, or what is raised."""

    def __init__(self) -> None:
        self.kill: str | Exception = ""
        self.given: dict[str, Hidden] | Exception = {}
        self.asked = 0

    def kill_reason(self) -> str:
        self.asked += 1
        if isinstance(self.kill, Exception):
            raise self.kill
        return self.kill

    def secrets(self) -> dict[str, Hidden]:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


class Stage:
    """A sentry whose pauses take no time, on a metadata service that is real."""

    def __init__(self, imds: fake.Imds, **more: Any) -> None:
        self.imds, self.store, self.agent, self.environ = imds, Store(), Agent(), dict[str, str]()
        pair = KeyPair.new()
        self.arrived = Arrived(
            Instance(imds.instance_id, imds.region),
            FLEET,
            imds.region,
            "127.0.0.1:1",
            AgentKeys(pair, pair.public),
            Imds(imds.url),
            cast("Parameters", self.store),
            cast("Clients", None),
        )
        self.looks = 0
        self.sentry = Sentry(self.arrived, sleep=self.sleep, environ=self.environ, **more)

    async def sleep(self, _: float) -> None:
        self.looks += 1
        await asyncio.sleep(0)

    async def several_looks(self) -> None:
        until_n = self.looks + 20
        await until(lambda: self.looks > until_n)

    async def looks_at_the_instance(self) -> None:
        """Three whole ones from here on; the flag is looked at meanwhile however often."""
        paths = self.imds.asked
        before = paths.count(LAST_PATH)
        await until(lambda: paths.count(LAST_PATH) > before + 3)


@asynccontextmanager
async def watching(**more: Any) -> AsyncIterator[Stage]:
    with running_imds() as imds:
        stage = Stage(imds, **more)
        task = asyncio.create_task(stage.sentry.watch(stage.agent))
        try:
            yield stage
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_spot_notice_is_a_planned_leave_and_is_told_once() -> None:
    async with watching() as stage:
        await stage.looks_at_the_instance()
        assert stage.agent.left == []
        stage.imds.arm_spot()
        await until(lambda: stage.agent.left)
        stage.imds.arm_termination()  # the group follows
        await stage.looks_at_the_instance()
        (reason,) = stage.agent.left
        assert reason.startswith("AWS takes the spot instance back at ")
        assert stage.agent.cut == []


@pytest.mark.parametrize("leaves_early", [False, True])
async def test_recommendation_alone_is_left_to_the_agent_that_was_told_to_leave_early(leaves_early: bool) -> None:
    async with watching(leaves_early=leaves_early) as stage:
        stage.imds.arm_rebalance()
        await stage.looks_at_the_instance()
        assert len(stage.agent.left) == int(leaves_early)
        stage.imds.arm_spot()
        await until(lambda: stage.agent.left)
        await stage.looks_at_the_instance()
        assert len(stage.agent.left) == 1


async def test_kill_flag_ends_the_load_at_once_whatever_the_controller_says() -> None:
    async with watching() as stage:
        await until(lambda: stage.store.asked > 3)
        assert stage.agent.cut == []
        stage.store.kill = "the fleet's kill flag is set: the shop is down"
        await until(lambda: stage.agent.cut)
        await stage.several_looks()
        assert (stage.agent.cut, stage.agent.left) == ([stage.store.kill], [])


@pytest.mark.parametrize("error", [CloudGone("AWS is gone"), CredentialsError("they are over")])
async def test_agent_that_cannot_ask_goes_on_and_says_it_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching() as stage:
        stage.store.kill = error
        stage.imds.status = 403
        await until(lambda: stage.store.asked > 20)
        assert (stage.agent.cut, stage.agent.left) == ([], [])
        assert [r.getMessage() for r in caplog.records].count(f"{error}; asking again") == 1
        stage.imds.status = None
        stage.imds.arm_spot()
        await until(lambda: stage.agent.left)


async def test_flag_that_cannot_be_read_keeps_no_notice_from_being_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching() as stage:
        hangs = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang() -> str:
            return asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result() and ""

        monkeypatch.setattr(stage.store, "kill_reason", hang)
        stage.imds.arm_spot()
        await until(lambda: stage.agent.left)
        (reason,) = stage.agent.left
        assert reason.startswith("AWS takes the spot instance back at ")
        assert stage.agent.cut == []
        hangs.set()


@pytest.mark.parametrize("why", ["kill", "spot", "group"])
async def test_agent_does_not_join_while_it_would_have_to_leave_at_once(
    why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_imds() as imds:
        stage = Stage(imds)
        stage.store.given = {"api-token": Hidden(CANARY)}
        match why:
            case "kill":
                stage.store.kill = "the fleet's kill flag is set: maintenance"
            case "spot":
                imds.arm_spot()
            case "group":
                imds.arm_termination()
        imds.arm_rebalance()  # which is no reason by itself
        joining = asyncio.create_task(stage.sentry.until_wanted())
        await stage.several_looks()
        assert not joining.done()
        assert len([r for r in caplog.records if "not joining: " in r.getMessage()]) == 1
        stage.store.kill = ""
        imds.meta.pop("spot/instance-action", None)
        imds.meta["autoscaling/target-lifecycle-state"] = "InService"
        await asyncio.wait_for(joining, 60)
        assert stage.environ == {"LOADGEN_SECRET_API_TOKEN": CANARY}


def test_secrets_of_the_fleet_follow_it_and_give_way_to_those_of_the_machine(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environ, given = {"LOADGEN_SECRET_OWN": "of the machine", "PATH": "/bin"}, set[str]()
    give_secrets({"own": Hidden("of the fleet"), "api-token": Hidden("1"), "old": Hidden("2")}, environ, given)
    assert environ == {
        "LOADGEN_SECRET_OWN": "of the machine",
        "PATH": "/bin",
        "LOADGEN_SECRET_API_TOKEN": "1",
        "LOADGEN_SECRET_OLD": "2",
    }
    give_secrets({"api-token": Hidden("3")}, environ, given)
    assert environ == {"LOADGEN_SECRET_OWN": "of the machine", "PATH": "/bin", "LOADGEN_SECRET_API_TOKEN": "3"}
    assert caplog.text == ""


def test_group_is_told_that_it_need_not_wait_and_a_refusal_is_no_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    asked: list[dict[str, str]] = []

    class Scaling:
        def complete_lifecycle_action(self, **request: str) -> None:
            asked.append(request)
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "CompleteLifecycleAction")

    class Made:
        def client(self, service: str, region: str) -> Scaling:
            assert (service, region) == ("autoscaling", REGION)
            return Scaling()

    with running_imds() as imds:
        stage = Stage(imds)
        object.__setattr__(stage.arrived, "clients", Made())
        stage.sentry.let_go()
        assert asked == []  # nobody waits for who was interrupted, or leaves by itself
        imds.arm_termination()
        for notice in stage.arrived.imds.notices():
            stage.sentry._obey(notice, stage.agent)
            stage.sentry._seen[notice.kind] = notice
        stage.sentry.let_go()
        assert asked == [
            {
                "LifecycleHookName": "loadgen-leave",
                "AutoScalingGroupName": f"loadgen-{FLEET}-{REGION}-agents",
                "LifecycleActionResult": "CONTINUE",
                "InstanceId": imds.instance_id,
            }
        ]
        assert "AWS returned AccessDenied" in caplog.text


# -- the program ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


@pytest.fixture
def instance(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[fake.Imds]:
    """With the credentials of its role, on an AWS that is empty."""
    isolated(monkeypatch, tmp_path, emptied(server), keys=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with running_imds() as imds:
        role_of(server, imds)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url)
        yield imds


async def spawn(*more: str) -> asyncio.subprocess.Process:
    argv = ["--aws", "--fleet", FLEET, "--bucket", BUCKET, *more]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen_agent.cli", *argv, stderr=subprocess.PIPE
    )


async def ended(agent: asyncio.subprocess.Process, within_s: float = 60) -> tuple[int | None, str]:
    async with asyncio.timeout(within_s):
        _, said = await agent.communicate()
    return agent.returncode, said.decode()


@pytest.mark.slow
async def test_agent_on_an_instance_enrols_and_joins_without_being_told_anything(
    server: str, instance: fake.Imds, tmp_path: Path
) -> None:
    pair, own = own_pair(tmp_path / "state/loadgen/keys", instance.instance_id), KeyPair.new()
    controller = FakeController(ControllerKeys(own, {pair.public: instance.instance_id}))
    made_fleet(server, controller.address, own.public, **{"api-token": CANARY})
    async with serving(controller):
        agent = await spawn()
        hello = await controller.hear(Hello)
        assert (hello.agent, hello.region, hello.pid) == (instance.instance_id, REGION, agent.pid)
        assert hello.instance_type == "c7i.xlarge"
        s3 = client(server, "s3")
        (there,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert there["Key"].startswith("enroll/")
        said = msgspec.json.decode(s3.get_object(Bucket=BUCKET, Key=there["Key"])["Body"].read(), type=Enrolled)
        assert said == Enrolled(instance.instance_id, pair.public.decode(), instance.instance_id, REGION)
        agent.send_signal(signal.SIGTERM)
        code, text = await ended(agent)
    assert (code, CANARY in text) == (ExitCode.PASSED, False)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["spot", "kill"])
async def test_agent_leaves_when_its_instance_or_its_fleet_ends(
    server: str, instance: fake.Imds, tmp_path: Path, how: str
) -> None:
    pair, own = own_pair(tmp_path / "state/loadgen/keys", instance.instance_id), KeyPair.new()
    controller = FakeController(ControllerKeys(own, {pair.public: instance.instance_id}))
    made_fleet(server, controller.address, own.public)
    async with serving(controller):
        agent = await spawn()
        await controller.hear(Hello)
        if how == "spot":
            instance.arm_spot()
        else:
            name = f"/loadgen/{FLEET}/agent/kill"
            client(server, "ssm").put_parameter(Name=name, Value="yes the shop is down", Overwrite=True)
        code, text = await ended(agent, 40)
    assert code == ExitCode.PASSED
    assert ("AWS takes the spot instance back" if how == "spot" else "the shop is down") in text


Faulty = tuple[Callable[[fake.Imds, str], None], int, str]
FAULTS: dict[str, Faulty] = {
    "no controller yet": (lambda *_: None, 5, "the fleet shop has no controller yet"),
    "no bucket": (lambda _, url: _without_bucket(url), 5, f"cannot write s3://{BUCKET}/enroll/"),
    "no role": (lambda imds, url: _without_role(imds, url), 2, "NoCredentialsError"),
    "metadata switched off": (lambda imds, _: setattr(imds, "status", 403), 2, "this machine is not an EC2 instance"),
}


def _without_bucket(url: str) -> None:
    made_fleet(url, "127.0.0.1:1", KeyPair.new().public)
    client(url, "s3").delete_bucket(Bucket=BUCKET)


def _without_role(imds: fake.Imds, url: str) -> None:
    made_fleet(url, "127.0.0.1:1", KeyPair.new().public)
    imds.meta = {name: value for name, value in imds.meta.items() if not name.startswith("iam/")}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_missing_on_the_way_is_said_with_its_exit_code(
    server: str, instance: fake.Imds, tmp_path: Path, fault: str
) -> None:
    spoil, code, text = FAULTS[fault]
    spoil(instance, server)
    with pytest.raises(LoadgenError, match=re.escape(text)) as caught:
        arrive(Wanted(BUCKET, tmp_path / "keys", FLEET))
    assert caught.value.exit_code == code


def test_instance_whose_fleet_nobody_says_is_told_how_to_say_it(instance: fake.Imds, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the fleet of this instance is unknown") as caught:
        arrive(Wanted(BUCKET, tmp_path / "keys"))
    assert "--fleet NAME" in caught.value.hint
