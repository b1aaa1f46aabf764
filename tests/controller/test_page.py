"""The page's server over real sockets: who may, what is refused, runs that go on and runs that are over."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from loadgen.errors import PortBusy, UsageError
from loadgen.measure.deltas.delta import Health
from loadgen.measure.merging.checkpoint import freeze, thaw
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.core.load_change_messages import Adjustment
from loadgen_controller.ui import app
from loadgen_controller.ui.access import HEADERS, Access, Authorizer, check_place
from loadgen_controller.ui.run_catalog import PageRuns
from loadgen_controller.ui.run_feed import RunFeed
from loadgen_controller.ui.server import UiServer
from tests.cli.test_watch import FakeRun, ms
from tests.controller.conftest import order_of
from tests.controller.test_api import Controller
from tests.controller.test_station import live
from tests.support.deltas import journey_key, request_key
from tests.support.made_databases import FACTS
from tests.support.page_client import PageClient
from tests.support.wire import until

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"


class Conducting(FakeRun):
    """As a conductor is told of; looks are made by the test."""

    run_id = "run"
    started_at = datetime(2026, 11, 25, tzinfo=UTC)
    adjustments: tuple[Adjustment, ...] = ()

    def some_seconds(self, n: int, names: int = 1) -> None:
        for _ in range(n):
            values = {request_key(f"GET /{i}"): ms(5, 10) for i in range(names)} | {journey_key(): ms(12)}
            self.second(values, values, Health(users=2))


class House:
    """A server with one run that goes on."""

    def __init__(self, tmp_path: Path) -> None:
        self.tokens = Tokens(tmp_path / "tokens.json")
        self.asked: list[tuple[ControlRequest, str]] = []
        self.runs_dir = tmp_path / "runs"
        self.shown = PageRuns(self.runs_dir, self._answer)
        self.server = UiServer(self.shown, "127.0.0.1:0", Access(self.tokens))
        self.run = Conducting()

    def _answer(self, ask: ControlRequest, by: str) -> ControlReply:
        self.asked.append((ask, by))
        if ask.do == "resume":
            raise UsageError("the run is not paused", hint="loadgen pause pauses it")
        return ControlReply(lines=(f"{ask.do} done",))

    def client(self, role: Role | None = Role.ADMIN) -> PageClient:
        token = "wrong" if role is None else self.tokens.add(f"{role}-{len(self.tokens)}", role)
        return PageClient(self.server.page_of("run"), token)

    def look(self) -> None:
        feed = self.shown.feed("run")
        assert feed is not None
        feed.look()


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr("loadgen_controller.ui.run_feed.LOOK_S", 1e6)  # the test looks
    made = House(tmp_path)
    made.shown.begin(made.run)
    made.server.start()
    yield made
    await made.server.close()


async def test_a_late_joiner_has_all_of_the_history(house: House) -> None:
    house.run.some_seconds(5)
    house.look()
    async with house.client(Role.VIEW) as page:
        found = await page.history()
    assert found["slots"]["requests"] == [4] * 5
    assert found["run"]["phase"] == "running"
    assert found["slots"]["offered_per_s"] == [5.0, 15.0, 25.0, 35.0, 40.0]


async def test_percentiles_are_computed_once_a_page_reads_them(house: House) -> None:
    feed = house.shown.feed("run")
    assert feed is not None
    for _ in range(3):
        house.run.some_seconds(1)
        feed.look(with_table=False)
    assert feed._table.as_json()["rows"] == []
    async with house.client(Role.VIEW) as page:
        found = await page.history()
    house.look()
    async with house.client(Role.VIEW) as page:
        again = await page.history()
    assert found["rows"] == again["rows"] != []
    assert found["slots"]["requests"] == [4] * 3


async def test_changes_come_as_they_are_looked_at_and_make_the_document_of_now(house: House) -> None:
    house.run.some_seconds(2)
    house.look()
    async with house.client() as page:
        known = await page.history()
        async with page.listening(known["seq"]) as events:
            kind, number, _ = await anext(events)
            assert (kind, number) == ("slots", None)  # the look that is known comes again: it may not have come whole
            house.run.some_seconds(1)
            house.look()
        assert await page.follow(known, looks=1) == await page.history()


async def test_what_was_missed_while_the_connection_was_lost_comes_first(house: House) -> None:
    house.run.some_seconds(1)
    house.look()
    async with house.client() as page:
        known = await page.follow(await page.history(), looks=1)
        for _ in range(40):
            house.run.some_seconds(1)
            house.look()
        known = await page.follow(known, looks=1)
        assert known["slots"]["requests"] == [4] * 41
        assert known == await page.history()


async def test_a_page_of_another_history_is_sent_for_it_anew(house: House) -> None:
    async with house.client() as page, page.listening(4_711) as events:
        assert (await anext(events))[0] == "again"


async def test_the_end_of_the_run_is_told_and_then_the_stream_ends(house: House) -> None:
    house.run.some_seconds(3)
    house.look()
    async with house.client() as page:
        known = await page.history()
        following = asyncio.create_task(page.follow(known))
        await until(lambda: len(house.server._server.server_state.tasks) == 1)
        await house.shown.end("run", None)
        assert (await following)["run"]["phase"] == "done"


@pytest.mark.parametrize("role", [None, Role.VIEW, Role.RUN])
async def test_each_role_may_do_its_own(house: House, role: Role | None) -> None:
    looks = 401 if role is None else 200
    does = 401 if role is None else 403 if role is Role.VIEW else 200
    async with house.client(role) as page:
        assert (await page.get("/api/me")).status_code == looks
        assert (await page.get("/api/runs")).status_code == looks
        assert (await page.get("/api/runs/run/history")).status_code == looks
        for deed in ("stop", "kill", "pause"):
            assert (await page.post(deed)).status_code == does
        assert (await page.post("scale", b'{"factor": 2}')).status_code == does
    assert len(house.asked) == (4 if role is Role.RUN else 0)
    if role is Role.RUN:
        assert house.asked[-1] == (ControlRequest(run_id="run", do="scale", factor=2), "run-0, by the page")


async def test_what_makes_no_sense_now_is_said_with_its_hint(house: House) -> None:
    async with house.client() as page:
        answer = await page.post("resume")
    assert answer.status_code == 409
    assert answer.json() == {"error": "the run is not paused", "hint": "loadgen pause pauses it"}


@pytest.mark.parametrize(
    ("deed", "content", "code"),
    [
        ("stop", b"no json", 400),
        ("stop", b'{"unknown": 1}', 400),
        ("stop", b'{"now": "yes"}', 400),
        ("scale", b"{}", 400),
        ("scale", b'{"factor": 1, "rate": 2}', 400),
        ("scale", b'{"factor": NaN}', 400),
        ("scale", b'{"factor": 1e999}', 400),
        ("scale", b'{"factor": "2"}', 400),
        ("stop", b" " * 5_000, 400),
        ("burn", b"{}", 404),
    ],
)
async def test_hostile_deeds_change_nothing(house: House, deed: str, content: bytes, code: int) -> None:
    async with house.client() as page:
        assert (await page.post(deed, content)).status_code == code
    assert house.asked == []


async def test_another_page_in_the_same_browser_can_do_nothing(house: House) -> None:
    async with house.client() as page:
        assert (await page.get("/", Host="evil.example")).status_code == 421
        assert (await page.get("/api/me", Host="evil.example:80")).status_code == 421
        for host in ("[::1].evil", "[::1]evil:80", "127.0.0.1.evil", "localhost.evil", "0x7f.1", "localhost:99999"):
            assert (await page.get("/api/me", Host=host)).status_code == 421
        assert (await page.get("/page/app.js", Host="evil.example")).status_code == 421
        assert (await page.post("kill", Origin="http://evil.example")).status_code == 421
        form = "application/x-www-form-urlencoded"
        assert (await page.post("kill", b"{}", **{"Content-Type": form})).status_code == 415
        cookie = await httpx.AsyncClient(trust_env=False).get(f"{page.base}/api/me", headers={"Cookie": "token=x"})
        assert cookie.status_code == 401
        for host in ("localhost:1", "LOCALHOST", "[::1]:80", "[::ffff:127.0.0.1]"):
            assert (await page.get("/api/me", Host=host)).status_code == 200
    assert house.asked == []


async def test_a_revoked_token_hears_no_more(house: House) -> None:
    house.run.some_seconds(1)
    house.look()
    async with house.client(Role.VIEW) as page, page.listening(house.run.clock_ns and 2) as events:
        await anext(events)
        house.tokens.revoke("view-0")
        house.run.some_seconds(1)
        house.look()
        assert [event async for event in events][1:] == []
        assert (await page.get("/api/me")).status_code == 401


async def test_every_answer_forbids_what_is_not_ours(house: House) -> None:
    async with house.client() as page:
        for path in (
            "/",
            "/runs/run",
            "/page/style.css",
            "/page/none.js",
            "/none",
            "/api/runs",
            "/api/runs/none/history",
        ):
            answer = await page.get(path)
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
            assert "set-cookie" not in answer.headers
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/page/../html.py", "/page/%2e%2e/html.py", "/page//etc/passwd", "/page/..%2fhtml.py"]
)
async def test_nothing_but_the_page_is_served(house: House, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.server.address.rpartition(":")[2]))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404")


async def test_runs_that_are_over_are_shown_from_their_folder(house: House) -> None:
    shutil.copytree(OLD, house.runs_dir / OLD.name)
    async with house.client() as page:
        going, over = (await page.get("/api/runs")).json()
        assert (going["id"], going["is_going"]) == ("run", True)
        assert (over["id"], over["result"], over["scenario"]) == (OLD.name, "failed", "browse.py")
        page.run_id = OLD.name
        assert (await page.history())["verdict"]["result"] == "failed"
        assert (await page.post("stop")).status_code == 409
        async with page.listening(600) as events:
            assert [event[0] async for event in events] == ["again"]


@pytest.mark.parametrize("run_id", ["none", "..", "%2e%2e%2f%2e%2e", "a%00b", "%F0%9F%98%80", "x" * 500])
async def test_a_run_that_is_not_there_is_not_found(house: House, run_id: str) -> None:
    async with house.client() as page:
        for what in ("history", "events"):
            assert (await page.get(f"/api/runs/{run_id}/{what}")).status_code == 404
    assert house.asked == []


async def test_a_run_of_another_process_is_not_told_as_if_it_had_ended(house: House) -> None:
    shutil.copytree(OLD, house.runs_dir / OLD.name)
    (house.runs_dir / OLD.name / "summary.json").unlink()
    (house.runs_dir / OLD.name / "control.json").write_text("{}")
    async with house.client() as page:
        page.run_id = OLD.name
        answer = await page.get(f"/api/runs/{OLD.name}/history")
    assert answer.status_code == 409
    assert "another process" in answer.json()["error"]


async def test_a_page_that_takes_nothing_is_dropped_and_others_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_PATIENCE_S", 0.2)
    house.run.some_seconds(1, names=200)
    house.look()
    port = int(house.server.address.rpartition(":")[2])
    token = house.tokens.add("dead", Role.VIEW)
    listener = house.server._socket
    usual = listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with socket.socket() as dead:
        # What the kernel holds for it gets full after some looks; usually, it would be 4 MB.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        dead.connect(("127.0.0.1", port))
        heads = ("Host: 127.0.0.1", "Last-Event-ID: 1", f"Authorization: Bearer {token}", "", "")
        dead.sendall("\r\n".join(("GET /api/runs/run/events HTTP/1.1", *heads)).encode())
        server = house.server._server.server_state
        await until(lambda: len(server.connections) == 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, usual)

        def is_there() -> bool:
            return any(getattr(c, "client", ("", 0))[1] == dead.getsockname()[1] for c in server.connections)

        async with house.client() as one, house.client() as another:
            known = [await one.history(), await another.history()]
            while is_there():
                house.run.some_seconds(1, names=200)
                house.look()
                known = [await page.follow(k, looks=1) for page, k in zip((one, another), known, strict=True)]
            assert known[0] == known[1] == await one.history()


async def test_a_page_that_goes_away_is_forgotten(house: House) -> None:
    async with house.client() as page:
        async with page.listening(0) as events:
            await anext(events)
        async with page.listening(0) as events:
            await anext(events)
    await until(lambda: not house.server._server.server_state.connections)
    await until(lambda: not house.server._server.server_state.tasks)


async def test_a_busy_port_is_said(house: House, tmp_path: Path) -> None:
    with pytest.raises(PortBusy, match="another program"):
        UiServer(PageRuns(tmp_path, house._answer), house.server.address)


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "192.0.2.1:8080", "[::]:0"])
def test_beyond_loopback_there_is_no_page_without_tls_and_tokens(tmp_path: Path, bind: str) -> None:
    with pytest.raises(UsageError, match="no TLS and no tokens"):
        check_place(bind, Access())
    with pytest.raises(UsageError, match="no TLS"):
        check_place(bind, Access(Tokens(tmp_path / "tokens.json")))


async def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    ApiFiles(keys).make_certificate(["controller.internal"], 10)
    token = Tokens(ApiFiles(keys).tokens).add("anna", Role.VIEW)
    server = UiServer(PageRuns(tmp_path, lambda *_: ControlReply()), "127.0.0.1:0", Access.of(keys))
    server.start()
    try:
        assert server.page_of().startswith("https://")
        assert "token" not in server.page_of()  # each has her own
        trusted = ssl.create_default_context(cafile=str(ApiFiles(keys).certificate))
        async with httpx.AsyncClient(verify=trusted, trust_env=False) as client:
            answer = await client.get(f"{server.url}/api/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == {"role": "view", "name": "anna"}
    finally:
        await server.close()


async def test_all_runs_of_a_controller_are_on_its_page_while_they_go_on_and_after(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    shown = controller.service.watching = PageRuns(controller.runs_dir, controller.service.answer)
    assert controller.tokens is not None
    server = UiServer(shown, "127.0.0.1:0", Access(controller.tokens))
    server.start()
    a, b = await controller.joined(a="eu", b="us")
    run_id = (await controller.service.start(order_of(), "anna")).run_id
    async with PageClient(server.page_of(run_id), controller.token(Role.VIEW)) as page:
        (line,) = (await page.get("/api/runs")).json()
        assert (line["id"], line["is_going"]) == (run_id, True)
        following = asyncio.create_task(page.follow(await page.history()))
        await asyncio.gather(live(a), live(b))
        assert (await following)["verdict"]["result"] == "passed"
        (line,) = (await page.get("/api/runs")).json()
        assert (line["id"], line["result"], line["is_going"]) == (run_id, "passed", False)
        assert (await page.history())["verdict"]["result"] == "passed"
    await server.close()
    await controller.close()


def test_a_secret_of_its_own_is_hard_to_guess_and_is_all_that_is_let_in() -> None:
    authorizer = Authorizer("127.0.0.1:0")
    assert len(authorizer.secret) >= 43
    assert authorizer.who({"authorization": f"Bearer {authorizer.secret}"}) is not None
    for wrong in ("", "Bearer", "Bearer ", "Basic x", f"Bearer {authorizer.secret[:-1]}", "Bearer ü"):
        assert authorizer.who({"authorization": wrong}) is None


async def test_a_run_that_was_taken_up_has_its_history_from_its_folder(tmp_path: Path) -> None:
    run = Conducting()
    folder = RunDir.create(tmp_path, "20261125-000000-shop-0000")
    agents = [{"id": "us-1", "region": "us"}, {"id": "eu-1", "region": "eu"}]
    folder.write_manifest({"format": 1, "run_id": folder.run_id, "interval_ns": NS_PER_S, "agents": agents})
    feed = RunFeed(run)
    known = feed.seq
    values = {request_key(): ms(5, 10), journey_key(): ms(12)}
    for _ in range(12):
        for agent, region in ((run.us, "us"), (run.eu, "eu")):
            delta = agent.delta(values)
            run.merge.accept(region, delta)
            folder.append(codec.encode(delta))
        run.clock_ns += NS_PER_S
    folder.sync()
    folder.close()
    run.merge = thaw(freeze(run.merge))
    run.view = lambda: replace(FakeRun.view(run), run_dir=folder.path)  # type: ignore[method-assign]
    assert len(run.merge.windows()) < 12
    await feed.recall()
    run.some_seconds(1)
    feed.look()
    assert feed._history.columns({})["requests"] == [4] * 13
    assert feed._history.is_exact
    assert feed.changes(known)[0][0] == "again"


def test_an_agent_that_is_lost_and_comes_back_is_marked() -> None:
    run = Conducting()
    feed = RunFeed(run)
    for state in ("running", "lost", "lost", "running"):
        run.some_seconds(1)
        run.us_state = state
        feed.look()
    marks = [(mark["at_s"], mark["kind"]) for mark in feed._marks]
    assert marks == [(2.0, "agent lost"), (4.0, "agent back")]


def test_metrics_that_are_written_while_the_run_goes_on_are_shown(tmp_path: Path) -> None:
    run = Conducting()
    run.view = lambda: replace(FakeRun.view(run), run_dir=tmp_path)  # type: ignore[method-assign]
    feed = RunFeed(run)
    run.some_seconds(1)
    feed.look()
    assert json.loads(feed.document())["metrics"] is None

    one = {"name": "cpu", "period_s": 5, "at_s": [0], "values": [12.5]}
    document = {
        "format": 1,
        "source": "host",
        "metrics": [one],
        "marks": [{"probe": "shopdb", "at_s": 0.5, "error_s": 0.1, "text": "checkpoint"}],
        "databases": [msgspec.to_builtins(FACTS)],
    }
    (tmp_path / "metrics.json").write_text(json.dumps(document))
    feed.look()

    found = json.loads(feed.document())
    assert [lane["name"] for lane in found["metrics"]["lanes"]] == ["cpu"]
    assert [(mark["source"], mark["text"]) for mark in found["marks"]] == [("shopdb", "checkpoint")]
    assert [(one["probe"], len(one["trees"])) for one in found["databases"]] == [("shopdb", 1)]
    assert found["run"]["title"]


async def test_news_that_come_while_a_page_is_sent_to_are_sent_after_that() -> None:
    run = Conducting()
    feed = RunFeed(run)
    run.some_seconds(1)
    feed.look()
    sent: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        text = bytes(message.get("body", b"")).decode()
        if text.startswith("event") or "\nevent" in text:
            sent.append(text)
            if len(sent) == 1:  # the page's connection is slow, and the run goes on
                run.some_seconds(1)
                feed.look()
        if len(sent) >= 4 or feed.seq in _ids(sent):
            gone.cancel()

    pages = SimpleNamespace(_page_runs=SimpleNamespace(is_closing=False))
    stream = app._Events(pages, feed, feed.seq - 1, lambda: True)  # type: ignore[arg-type]
    gone: asyncio.Task[None] = asyncio.create_task(asyncio.sleep(30))
    await stream._stream(send, gone)
    assert _ids(sent) == [feed.seq - 1, feed.seq]


def _ids(events: list[str]) -> list[int]:
    return [int(found) for event in events for found in re.findall(r"^id: (\d+)", event, re.MULTILINE)]
