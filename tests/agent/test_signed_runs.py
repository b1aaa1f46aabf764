"""Attacks on an agent by somebody who has its controller's keys: real sockets, a real agent, orders of all kinds.

Each attack ends with a refusal that names it, and the agent then takes the next sound order.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.bundle import MAX_BYTES, Bundle, pack_files, place_in
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import BundleError, UsageError
from loadgen.profiles.stage import Stage
from loadgen.signed.launch_statement import Statement
from loadgen.signed.signatures import PUBLIC_NAME, SECRET_NAME, Signer, Verifier, make
from loadgen.units import NS_PER_S
from loadgen.wire.messages import (
    Adjust,
    BundleRequest,
    Bye,
    ClockPing,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    Reassign,
    Refused,
    StartAt,
    Stop,
    Welcome,
)
from loadgen_agent.supervisor.lifecycle import Phase
from loadgen_agent.supervisor.order_authorization import Trust
from loadgen_agent.supervisor.supervisor import Supervisor, Terms
from loadgen_agent.supervisor.worker_process import Child
from loadgen_agent.worker.allowlist_check import fenced
from tests.support import fake_worker
from tests.support.fake_controller import FakeController
from tests.support.wire import key_ring, serving, until

WORKER = (sys.executable, "-m", fake_worker.__name__)
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def browse(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", load=arrivals("10/s").hold("2s"), mix=browse)
"""
ALLOW = AllowList(
    allow=(Entry(host="127.0.0.0/8", owner="us", expires=date(2999, 1, 1), max_requests_per_s=50.0, line=1),)
)
OVERRIDES = Overrides(target="http://127.0.0.1:2", duration_s=1.0)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "s.py"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="module")
def bundle(scenario: Path) -> Bundle:
    return pack_files(scenario, [scenario])


def stated(scenario: Path, bundle: Bundle, **other: Any) -> Statement:
    plan = load(scenario, overrides=OVERRIDES).plan
    usual: dict[str, Any] = {"allow": ALLOW, "limits": Limits(max_requests_per_s=50.0)}
    return Statement.of(
        plan.spec(),
        scenario="s.py",
        plan="six",
        bundle_sha256=bundle.sha256,
        bundle_bytes=len(bundle.data),
        overrides=OVERRIDES,
        seed=1,
        **usual | other,
    )


def order_of(statement: Statement, keys: Path, run_id: str = "r1") -> Prepare:
    """As a sound controller sends it."""
    return Prepare(
        run_id,
        1,
        statement.bundle_sha256,
        statement.bundle_bytes,
        "s.py",
        "six",
        OVERRIDES.to_json(),
        1,
        0,
        (1.0,),
        statement.interval_ns,
        digests=statement.digests,
        allow_json=ALLOW.to_json(),
        statement=statement.data,
        signature=Signer.read(keys / SECRET_NAME).sign(statement.data),
    )


class Scene:
    """One agent, and a controller that does what a test says."""

    def __init__(self, bundle: Bundle, verifier: Verifier | None) -> None:
        controller_keys, agents = key_ring("eu")
        self.controller = FakeController(controller_keys, bundle=bundle.data, sha256=bundle.sha256)
        terms = Terms(verifier=verifier)
        self.agent = Supervisor(self.controller.address, "eu-west-1", "eu", agents["eu"], terms, WORKER)
        self.running = asyncio.create_task(self.agent.run())

    async def refusal(self, order: Prepare) -> str:
        """Send the order under a run's id of its own; the agent's answer."""
        run_id = f"attack{len(self.controller.of(Refused))}"
        self.controller.say(replace(order, run_id=run_id))
        refused = await self.controller.hear(Refused, lambda one: one.run_id == run_id)
        await until(lambda: self.agent.phase is Phase.IDLE)
        return refused.reason


@asynccontextmanager
async def scene(bundle: Bundle, verifier: Verifier | None = None) -> AsyncIterator[Scene]:
    made = Scene(bundle, verifier)
    try:
        async with serving(made.controller):
            await made.controller.hear(Hello)
            await until(lambda: made.controller.of(ClockPing))
            yield made
    finally:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)


async def test_a_controller_can_change_nothing_that_was_signed(keys: Path, scenario: Path, bundle: Bundle) -> None:
    statement = stated(scenario, bundle)
    sound = order_of(statement, keys)
    other = order_of(stated(scenario, bundle, allow=None, limits=Limits()), keys)
    target = msgspec.structs.replace(OVERRIDES, target="http://127.0.0.1:3").to_json()
    longer = msgspec.structs.replace(OVERRIDES, duration_s=1e6).to_json()
    entry = ALLOW.allow[0]
    wider = AllowList(allow=(entry, msgspec.structs.replace(entry, host="0.0.0.0/0"))).to_json()
    faster = AllowList(allow=(msgspec.structs.replace(entry, max_requests_per_s=1e9),)).to_json()
    attacks = {
        "the scenario's path": replace(sound, scenario="t.py"),
        "the plan's name": replace(sound, plan="steady"),
        "another target": replace(sound, overrides_json=target),
        "another duration": replace(sound, overrides_json=longer),
        "a wider list": replace(sound, allow_json=wider),
        "a higher cap": replace(sound, allow_json=faster),
        "no list": replace(sound, allow_json=b""),
        "the seed": replace(sound, seed=2),
        "the interval": replace(sound, interval_ns=NS_PER_S // 2),
        "another bundle": replace(sound, bundle_sha256="ab" * 32),
        "a longer bundle": replace(sound, bundle_bytes=sound.bundle_bytes + 1),
        "another run's statement": replace(sound, statement=other.statement, signature=other.signature),
    }
    wider_statement = msgspec.structs.replace(statement, allow=None).data
    async with scene(bundle, Verifier.read(keys / PUBLIC_NAME)) as s:
        for attack, order in attacks.items():
            assert "the controller's order differs from the signed statement" in await s.refusal(order), attack
        assert "signed with another key" in await s.refusal(replace(sound, statement=wider_statement, allow_json=b""))
        assert "is not signed" in await s.refusal(replace(sound, signature=b"", statement=b""))
        assert "old way" in await s.refusal(replace(sound, statement=b""))
        assert not s.controller.of(BundleRequest), "nothing is fetched before everything fits"

        s.controller.say(sound)
        assert (await s.controller.hear(Ready)).run_id == "r1"


async def test_a_statement_is_good_for_one_run(keys: Path, scenario: Path, bundle: Bundle) -> None:
    sound = order_of(stated(scenario, bundle), keys)
    expired = order_of(stated(scenario, bundle, now=datetime.now(UTC) - timedelta(hours=2)), keys)
    async with scene(bundle, Verifier.read(keys / PUBLIC_NAME)) as s:
        assert "the run's signature expired at" in await s.refusal(expired)
        s.controller.say(sound)
        await s.controller.hear(Ready)
        s.controller.say(replace(sound, generation=2))  # of the same run: as for an agent that joins again
        s.controller.say(Bye("r1"))
        await until(lambda: s.agent.phase is Phase.IDLE)
        assert "was used for run r1 already" in await s.refusal(sound)


def test_a_statement_is_remembered_until_it_expires(keys: Path, scenario: Path, bundle: Bundle) -> None:
    trust = Trust(Verifier.read(keys / PUBLIC_NAME))
    statements = [stated(scenario, bundle) for _ in range(3)]
    orders = [order_of(statement, keys, f"r{n}") for n, statement in enumerate(statements)]
    for order in (*orders, *orders):
        trust.check(order)
    for order in orders:
        with pytest.raises(BundleError, match="used for run"):
            trust.check(replace(order, run_id="r9"))
    later = max(one.expires_at for one in statements) + timedelta(seconds=1)
    with pytest.raises(BundleError, match="expired"):
        trust.check(orders[0], later)
    fresh = order_of(stated(scenario, bundle, now=later), keys, "r9")
    trust.check(fresh, later)
    assert len(trust._used) == 1


def test_a_worker_refuses_a_plan_whose_targets_were_not_signed(scenario: Path, bundle: Bundle, keys: Path) -> None:
    """The code and the overrides are signed; what they come to may still depend on the agent's environment."""
    sound = order_of(stated(scenario, bundle), keys)
    signed = load(scenario, overrides=OVERRIDES).plan
    other = load(scenario, overrides=msgspec.structs.replace(OVERRIDES, target="http://127.0.0.1:3")).plan
    assert fenced(sound, signed).limits.max_requests_per_s == 50.0
    with pytest.raises(UsageError, match=r"targets are http://127\.0\.0\.1:3, and the signed ones are .*:2"):
        fenced(sound, other)


def test_a_worker_keeps_to_the_signed_limits_where_they_are_stricter(
    scenario: Path, bundle: Bundle, keys: Path
) -> None:
    strict = stated(scenario, bundle, limits=Limits(max_requests_per_s=20.0, max_duration_ns=NS_PER_S))
    plan = load(scenario, overrides=OVERRIDES).plan
    assert fenced(order_of(strict, keys), plan).limits == Limits(max_requests_per_s=20.0, max_duration_ns=NS_PER_S)


# -- with and without a signature -----------------------------------------------------------------


async def test_without_a_key_an_agent_takes_unsigned_and_signed_runs(
    keys: Path, scenario: Path, bundle: Bundle
) -> None:
    async with scene(bundle) as s:
        s.controller.say(s.controller.prepare("six"))
        await s.controller.hear(Ready)
        s.controller.say(Bye("r1"))
        await until(lambda: s.agent.phase is Phase.IDLE)
        s.controller.say(order_of(stated(scenario, bundle), keys, "r2"))
        await s.controller.hear(Ready, lambda ready: ready.run_id == "r2")
        assert [ready.run_id for ready in s.controller.of(Ready)] == ["r1", "r2"]
        assert not s.controller.of(Refused)


async def test_an_unsigned_order_beyond_the_bounds_is_refused_and_the_agent_stays(bundle: Bundle) -> None:
    async with scene(bundle) as s:
        sound = s.controller.prepare("six")
        attacks: dict[str, dict[str, Any]] = {
            "interval of 0 ns is invalid": {"interval_ns": 0},
            "scenario's path '/etc/evil.py' is invalid": {"scenario": "/etc/evil.py"},
            "scenario's path '../evil.py' is invalid": {"scenario": "../evil.py"},
            "a weight is invalid": {"weights": (1e308, 1e308)},
            "index 7 is invalid": {"index": 7},
            "the limit is 268,435,456": {"bundle_bytes": MAX_BYTES + 1},
        }
        for why, change in attacks.items():
            assert why in await s.refusal(replace(sound, **change))
        assert not s.controller.of(BundleRequest)
        await s.controller.start("six")
        await s.controller.hear(Fin)


async def test_a_bundle_of_256_mib_in_chunks_of_one_byte_ends_with_the_first_chunk(bundle: Bundle) -> None:
    """It took 7.5 GB of the agent."""
    async with scene(bundle) as s:
        s.controller.chunk_bytes = 1
        before = psutil.Process().memory_info().rss
        order = replace(s.controller.prepare("six"), bundle_bytes=MAX_BYTES)
        assert "a chunk of 1 bytes at offset 0 of the bundle; it must have 65,536" in await s.refusal(order)
        grown = psutil.Process().memory_info().rss - before
        assert grown < 64 << 20
        s.controller.chunk_bytes = 65_536
        await s.controller.start("six")
        await s.controller.hear(Fin)


async def test_messages_beyond_the_bounds_are_ignored_and_the_run_goes_on(bundle: Bundle) -> None:
    far = Stage(1e308, 1e308, 10**9)
    async with scene(bundle) as s:
        say, now_ns = s.controller.say, s.controller.now_ns
        say(s.controller.prepare("steady"))
        await s.controller.hear(Ready)
        bad: list[Message] = [
            Welcome(1, 1e308),
            Welcome(2**63, 8.0),
            s.controller.prepare("steady", "../../r1"),
            StartAt("r1", now_ns() + 3600 * NS_PER_S),
            StartAt("r1", 2**63 - 1),
            Adjust("r1", 1, 0, 0, (far,)),
            Reassign("r1", 1, 2, 0, (1e308, 1e308)),
            Reassign("r1", 1, 2, -(2**63), (1.0,)),
        ]
        for message in bad:
            say(message)
        await until(lambda: s.agent._gate.ignored == len(bad))
        assert s.agent.phase is Phase.READY
        say(StartAt("r1", now_ns()))
        await until(lambda: s.controller.taken)
        say(Adjust("r1", 1, 0, 0, (Stage(1.0, 1.0, 10**9),)))
        await s.controller.hear(Heartbeat, lambda beat: beat.adjusted == 1)
        say(Stop("r1", "x" * 900_000))
        await until(s.controller.is_complete)


# -- code outside of the bundle -------------------------------------------------------------------


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A bundle's folder beside a file that somebody else wrote."""
    folder = tmp_path / "bundle"
    (folder / "shops").mkdir(parents=True)
    for path in (folder / "s.py", folder / "shops" / "s.py", tmp_path / "evil.py"):
        path.write_text("")
    (folder / "linked.py").symlink_to(tmp_path / "evil.py")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop.py").symlink_to(folder / "loop.py")
    return folder


@pytest.mark.parametrize("name", ["s.py", "shops/s.py"])
def test_a_scenario_within_the_bundle_is_found(unpacked: Path, name: str) -> None:
    assert place_in(unpacked, name) == unpacked / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../evil.py",
        "shops/../../evil.py",
        "./s.py",
        "shops//s.py",
        "s.py/",
        "/etc/passwd",
        "//etc/passwd",
        "..\\evil.py",
        "C:\\evil.py",
        "s.py\0",
        "\0",
        "s.py\n",
        "linked.py",
        "up/evil.py",
        "loop.py",
        "shops",
        "none.py",
        "a" * 5_000,
    ],
)
def test_a_scenario_outside_of_the_bundle_is_not_loaded(unpacked: Path, name: str) -> None:
    with pytest.raises(BundleError, match="scenario"):
        place_in(unpacked, name)


async def test_a_worker_runs_no_code_outside_of_the_bundle(unpacked: Path, tmp_path: Path) -> None:
    """A real worker, and an order as its supervisor would hand it on."""
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{SCENARIO}")
    child = await Child.start((sys.executable, "-P", "-m", "loadgen_agent.worker.worker"), "eu")
    try:
        for name in (str(evil), "../evil.py", "linked.py", "up/evil.py"):
            child.write(Prepare("r1", 1, "", 0, name, "", b"{}", 1, 0, (1.0,), NS_PER_S, bundle_dir=str(unpacked)))
            while not isinstance(answer := await child.read(), Refused | Ready):
                assert answer is not None
            assert isinstance(answer, Refused)
            assert "scenario" in answer.reason
    finally:
        await child.end()
    assert not (tmp_path / "ran").exists()
