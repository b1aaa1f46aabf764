"""The API over real sockets: roles, refusals, and runs that go on without their clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from loadgen.api.v1 import api_pb2 as pb
from loadgen.errors import ExitCode, FleetError, LoadgenError, PortBusy, UsageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.messages import Prepare
from loadgen_controller.api.address import Place
from loadgen_controller.api.client import Client, figures_of
from loadgen_controller.api.order import parts_of
from loadgen_controller.api.server import SERVICE, ApiServer, Tls, check_bind
from loadgen_controller.api.tokens import Role, Tokens
from loadgen_controller.control.control_request import ControlRequest
from loadgen_controller.control.run_service import Service
from loadgen_controller.core.lifecycle import Phase
from tests.controller.conftest import order_of
from tests.controller.test_station import House, live
from tests.support.wire import until


class Controller(House):
    """A service with an API on loopback."""

    def __init__(self, tmp_path: Path, *, has_tokens: bool = True) -> None:
        super().__init__(tmp_path / "runs")
        self.service = Service(self.hub, self.runs_dir)
        self.tokens = Tokens(tmp_path / "tokens.json") if has_tokens else None
        self.api = ApiServer(self.service, "127.0.0.1:0", self.tokens)
        self._clients = AsyncExitStack()

    def token(self, role: Role) -> str:
        assert self.tokens is not None
        return self.tokens.add(f"{role}-{len(self.tokens)}", role)

    async def client(self, role: Role | None = Role.ADMIN) -> Client:
        token = "" if role is None or self.tokens is None else self.token(role)
        return await self._clients.enter_async_context(Client(Place(self.api.address, token=token)))

    async def close(self) -> None:
        await self._clients.aclose()
        await self.api.close()
        await self.service.close()
        await super().close()


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    made = Controller(tmp_path)
    await made.api.start()
    yield made
    await made.close()


# -- runs ------------------------------------------------------------------------------------------


async def test_a_run_goes_on_when_its_client_goes_away_and_another_one_sees_its_end(controller: Controller) -> None:
    a, b = await controller.joined(a="eu", b="us")
    async with Client(Place(controller.api.address, token=controller.token(Role.RUN))) as first:
        started = await first.start(order_of())
        async for snapshot in first.watch(started.run_id):
            assert figures_of(snapshot).run_id == started.run_id
            break
    second = await controller.client(Role.VIEW)
    living = asyncio.gather(live(a), live(b))
    snapshots = [snapshot async for snapshot in second.watch()]
    await living
    assert [one.is_over for one in snapshots] == [False] * (len(snapshots) - 1) + [True]
    assert snapshots[-1].exit_code == ExitCode.PASSED
    summary, folder = await second.summary(started.run_id)
    assert summary["result"] == "passed"
    assert folder == started.folder == str(controller.runs_dir / started.run_id)
    (line,) = await second.runs()
    assert (line.run_id, line.state, line.is_going) == (started.run_id, "passed", False)
    assert line.by == RunDir(Path(started.folder)).read_manifest()["by"] != ""


async def test_a_run_that_is_over_is_brought_to_whoever_made_it_and_another_is_not(
    controller: Controller, tmp_path: Path
) -> None:
    a, b = await controller.joined(a="eu", b="us")
    client = await controller.client(Role.RUN)
    started = await client.start(order_of())
    with pytest.raises(UsageError, match="is still running"):
        await client.fetch(started.run_id, tmp_path / "here")
    living = asyncio.gather(live(a), live(b))
    async for _ in client.watch(started.run_id):
        pass
    await living
    path = await client.fetch(started.run_id, tmp_path / "here")
    there = controller.runs_dir / started.run_id
    assert path == tmp_path / "here" / started.run_id
    assert {one.name for one in path.iterdir()} >= {"manifest.json", "summary.json", "deltas.log", "events.jsonl"}
    assert all(one.read_bytes() == (there / one.name).read_bytes() for one in path.iterdir() if one.is_file())
    with pytest.raises(UsageError, match="no run") as wrong:
        await client.fetch("20200101-000000-gone-0000", tmp_path / "here")
    assert [one.name for one in (tmp_path / "here").iterdir()] == [started.run_id]
    (path / "summary.json").write_text("changed here")
    assert await client.fetch(started.run_id, tmp_path / "here") == path
    assert (path / "summary.json").read_text() == "changed here", "one that is here stays as it is"
    assert "runs list --controller" in wrong.value.hint  # and nothing of a folder of ours


async def test_whether_runs_can_be_brought_is_known_before_one_is_made(controller: Controller) -> None:
    await (await controller.client(Role.RUN)).check_fetch()
    with pytest.raises(UsageError, match="Fetch needs the role run"):
        await (await controller.client(Role.VIEW)).check_fetch()
    older = grpc.aio.server()  # which knows no call at all
    port = older.add_insecure_port("127.0.0.1:0")
    await older.start()
    async with Client(Place(f"127.0.0.1:{port}")) as client:
        with pytest.raises(FleetError, match="does not support this call") as caught:
            await client.check_fetch()
    assert "same version" in caught.value.hint
    await older.stop(0)


async def test_a_run_is_paused_scaled_and_stopped_by_the_name_of_the_token(controller: Controller) -> None:
    a, b = await controller.joined(a="eu", b="us")
    client = await controller.client(Role.RUN)
    run_id = (await client.start(order_of())).run_id
    conductor = controller.service._going[run_id].conductor
    for agent in (a, b):
        await agent.ready(await agent.next(Prepare))
    await until(lambda: conductor.run.phase is Phase.STARTING)
    controller.clock.jump(1)
    (line, *_) = (await client.ask(ControlRequest(run_id="", do="scale", factor=2))).lines
    assert line.startswith(f"scaled {run_id} at 0:0")
    for bad in (1e308, 1e-308, 0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="cannot be scaled") as refused:
            await client.ask(ControlRequest(run_id=run_id, do="scale", factor=bad))
        assert refused.value.exit_code is ExitCode.USAGE
    assert (await client.ask(ControlRequest(run_id=run_id[:15], do="pause"))).lines[0].startswith("paused")
    with pytest.raises(UsageError, match="paused") as caught:
        await client.ask(ControlRequest(run_id=run_id, do="pause"))
    assert caught.value.exit_code is ExitCode.USAGE
    assert (await client.ask(ControlRequest(run_id=run_id, do="resume"))).lines[0].startswith("resumed")
    (working, _) = await client.agents()
    assert (working.id, working.region, working.presence, working.run_id) == ("a", "eu", "here", run_id)
    assert (await client.ask(ControlRequest(run_id=run_id, do="kill"))).lines == (
        f"killed {run_id}: nothing more is sent",
    )
    assert (await a.stopped()).now
    assert "killed by loadgen kill (run-0, by the API)" in conductor.run.ends[-1].detail


async def test_kill_of_all_ends_every_run(controller: Controller) -> None:
    client = await controller.client(Role.ADMIN)
    ids = [(await client.start(order_of())).run_id for _ in range(3)]
    assert len({*ids}) == 3
    told = await client.kill_all()
    assert len(told.lines) == 3
    await until(lambda: not controller.service.going)
    assert (await client.kill_all()).lines == ("no run is running",)


async def test_which_run_is_meant_is_asked_when_several_go_on(controller: Controller) -> None:
    client = await controller.client(Role.RUN)
    with pytest.raises(UsageError, match="no run is running"):
        await client.ask(ControlRequest(run_id="", do="stop"))
    for _ in range(2):
        await client.start(order_of())
    with pytest.raises(UsageError, match="2 runs are running"):
        await client.ask(ControlRequest(run_id="", do="stop"))
    for name in ("../../etc", "/etc/passwd", "a b", "2026/.."):
        with pytest.raises(UsageError, match="invalid run id"):
            await client.summary(name)


# -- orders ----------------------------------------------------------------------------------------


def with_probe(parts: list[pb.StartPart], **probe: object) -> None:
    """Add a probe to the plan of an order."""
    spec = json.loads(parts[0].order.spec_json)
    spec["probes"] = [{"name": "p", "url": "http://127.0.0.1:1/metrics", "preset": "vllm", **probe}]
    parts[0].order.spec_json = json.dumps(spec).encode()


WRONG_ORDERS: dict[str, tuple[Callable[[list[pb.StartPart]], None], str]] = {
    "no order": (lambda parts: parts.clear(), "the order is missing"),
    "a bundle without an order": (lambda parts: parts.__delitem__(0), "before its order"),
    "half of the bundle": (
        lambda parts: parts[1].__setattr__("data", parts[1].data[:1000]),
        "SHA-256 of the bundle differs",
    ),
    "more than the bundle": (lambda parts: parts.append(pb.StartPart(data=b"more")), "longer than its order states"),
    "no plan": (lambda parts: parts[0].order.__setattr__("spec_json", b"{}"), "cannot be read"),
    "no JSON": (lambda parts: parts[0].order.__setattr__("spec_json", b"\xff"), "cannot be read"),
    "a path out of the bundle": (
        lambda parts: parts[0].order.__setattr__("scenario", "../shop.py"),
        "not a path within the bundle",
    ),
    "a probe of a file": (lambda parts: with_probe(parts, url="file:///etc/shadow"), "not a URL with a valid host"),
    "a probe without a pause": (lambda parts: with_probe(parts, every_ns=0), "must be from 200 ms to 1 h"),
    "a probe with a secret of the controller": (
        lambda parts: with_probe(parts, auth_secret="team-hook"),
        "has auth_secret: this controller would send its own secret for a client",
    ),
    "a probe of the metadata service": (
        lambda parts: with_probe(parts, url="http://169.254.169.254/latest"),
        "which is never allowed",
    ),
    "a probe of a public host": (lambda parts: with_probe(parts, url="http://8.8.8.8/metrics"), "is public"),
    "too large": (lambda parts: parts[0].order.__setattr__("bundle_bytes", 1 << 40), "a bundle must have 1 to"),
}


@pytest.mark.parametrize("case", WRONG_ORDERS)
async def test_an_order_that_is_none_is_refused_and_starts_nothing(
    case: str, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, why = WRONG_ORDERS[case]
    parts = list(parts_of(order_of()))
    spoil(parts)
    monkeypatch.setattr("loadgen_controller.api.client.parts_of", lambda _: iter(parts))
    client = await controller.client(Role.RUN)
    with pytest.raises(UsageError, match=why):
        await client.start(order_of())
    assert controller.service.going == ()


@pytest.mark.parametrize(
    ("target", "why"), [("http://8.8.8.8/", "is public"), ("http://169.254.169.254/", "link-local")]
)
async def test_a_target_that_may_not_be_loaded_is_refused_by_the_controller_itself(
    target: str, why: str, controller: Controller
) -> None:
    client = await controller.client(Role.RUN)
    with pytest.raises(UsageError, match=why):
        await client.start(order_of(target=target))
    address = target.removeprefix("http://").strip("/")
    sent_there = replace(order_of(), overrides_json=b'{"resolve": {"shop": ["%s"]}}' % address.encode())
    with pytest.raises(UsageError, match=why):
        await client.start(sent_there)


# -- who may what ----------------------------------------------------------------------------------

LEAST = {
    "Watch": Role.VIEW,
    "Agents": Role.VIEW,
    "Runs": Role.VIEW,
    "Summary": Role.VIEW,
    "Fetch": Role.RUN,
    "Start": Role.RUN,
    "Stop": Role.RUN,
    "Kill": Role.RUN,
    "Pause": Role.RUN,
    "Resume": Role.RUN,
    "Scale": Role.RUN,
    "Skip": Role.RUN,
}


async def refusal(address: str, name: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """What a bare call of the method comes to: UNKNOWN stands for whatever it says once it is let in."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(f"/{SERVICE}/{name}")  # one message goes with the call itself, whatever is answered
        try:
            async for _ in call(b"", metadata=metadata, timeout=60):
                break
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_every_call_has_its_least_role() -> None:
    assert {method.name for method in pb.DESCRIPTOR.services_by_name["Controller"].methods} == set(LEAST)


@pytest.mark.parametrize("name", LEAST)
async def test_a_call_needs_a_token_of_its_role(name: str, controller: Controller) -> None:
    address = controller.api.address
    denied = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    for metadata in ((), (("authorization", "Bearer lg_admin_guess"),), (("authorization", "Basic eDp5"),)):
        assert await refusal(address, name, *metadata) is grpc.StatusCode.UNAUTHENTICATED
    for role in Role:
        code = await refusal(address, name, ("authorization", f"Bearer {controller.token(role)}"))
        assert (code is grpc.StatusCode.PERMISSION_DENIED) == (role < LEAST[name])
        assert (code in denied) == (role < LEAST[name])


async def test_all_runs_are_killed_by_an_admin_only(controller: Controller) -> None:
    with pytest.raises(UsageError, match="role admin"):
        await (await controller.client(Role.RUN)).kill_all()


async def test_a_token_that_is_revoked_is_refused_at_once_and_ends_what_it_watches(controller: Controller) -> None:
    client = await controller.client(Role.RUN)
    await client.start(order_of())
    watching = client.watch()
    await anext(watching)
    assert controller.tokens is not None
    controller.tokens.revoke("run-0")
    with pytest.raises(UsageError, match="unknown or was revoked"):
        await client.agents()
    with pytest.raises(UsageError, match="revoked"):
        async for _ in watching:
            pass


async def test_tokens_that_cannot_be_read_let_nobody_in(controller: Controller) -> None:
    client = await controller.client(Role.ADMIN)
    await client.agents()
    assert controller.tokens is not None
    controller.tokens.path.chmod(0o644)
    with pytest.raises(LoadgenError, match="others may read it"):
        await client.agents()


async def test_a_refusal_does_not_repeat_the_token(controller: Controller, caplog: pytest.LogCaptureFixture) -> None:
    secret = "lg_admin_THIS-IS-THE-SECRET"
    async with Client(Place(controller.api.address, token=secret)) as client:
        with pytest.raises(UsageError) as caught:
            await client.agents()
    shown = caplog.text + str(caught.value) + caught.value.hint + repr(Place("127.0.0.1:1", token=secret))
    assert "THIS-IS-THE-SECRET" not in shown
    assert "unknown or was revoked" in caplog.text


async def test_on_loopback_an_api_without_tokens_is_for_whoever_is_on_this_machine(tmp_path: Path) -> None:
    made = Controller(tmp_path, has_tokens=False)
    try:
        await made.api.start()
        assert await (await made.client(None)).agents() == []
    finally:
        await made.close()


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.7:5558", "controller.internal:5558"])
def test_beyond_loopback_there_is_no_api_without_tls_and_tokens(bind: str, tmp_path: Path) -> None:
    tokens, tls = Tokens(tmp_path / "tokens.json"), Tls(b"", b"")
    for given, missing in (
        ((None, None), "no TLS and no tokens"),
        ((tls, None), "no tokens"),
        ((tls, tokens), "no tokens"),  # an empty file
    ):
        with pytest.raises(UsageError, match=missing):
            check_bind(bind, *given)
    tokens.add("alice", Role.VIEW)
    with pytest.raises(UsageError, match="no TLS"):
        check_bind(bind, None, tokens)
    check_bind(bind, tls, tokens)
    check_bind("127.0.0.1:0", None, None)
    check_bind("[::1]:0", None, None)


async def test_a_port_that_is_taken_is_said_so(controller: Controller) -> None:
    with pytest.raises(PortBusy, match="cannot listen for the API"):
        ApiServer(controller.service, controller.api.address)


async def test_no_controller_is_a_fault_of_the_fleet() -> None:
    async with Client(Place("127.0.0.1:1")) as client:
        with pytest.raises(FleetError, match="no controller answers"):
            await client.agents()
