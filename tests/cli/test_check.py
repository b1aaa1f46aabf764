"""`loadgen check`: what it finds before anything is sent, what it shows of a failure, and how it watches files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen.clients.net.target_guard import NOT_ALLOWED
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import RequestFailed, ScenarioError, UsageError
from loadgen_controller.cli import app
from loadgen_controller.commands.checking.file_changes import changed, state_of, watched_files
from loadgen_controller.commands.checking.watch import MIN_SPACING_S, Spacing, Watch, spaced
from loadgen_controller.planning.private_targets import PRIVATE_ONLY, check_private
from loadgen_controller.screen.terminal_report import Output
from tests.support.scenarios import browse_with, write
from tests.support.scripted import ok, scripted
from tests.support.target import RunningTarget, running_target

FAULTY = """
from loadgen import Plan, User, arrivals, journey

@journey
async def browse(user: User) -> None:
    reply = await user.http.get("/", expect=99)
    if reply.status_code == 418:
        await user.think(3, 1)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("0s"), mix=browse, regions=["eu west"])
"""


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target("--no-latency") as target:
        yield target


# -- before anything is sent ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_each_command_finds_all_faults_without_a_target(command: str, tmp_path: Path) -> None:
    path = write(tmp_path, FAULTY)

    result = loadgen(command, path)

    assert result.exit_code == 2
    for line, part in ((6, "from 100 to 599"), (8, "think(3, 1)"), (10, "hold must be above 0"), (10, "'eu west'")):
        assert f"{path}:{line}: " in result.stderr.replace("\n", "")
        assert part in result.stderr
    assert result.stderr.count("error: ") == 4


# -- what a failure shows ---------------------------------------------------------------------------


def check_of(folder: Path, url: str, body: str) -> Result:
    head = "from loadgen import Plan, User, iterations, journey\n\n@journey\nasync def browse(user: User) -> None:\n"
    path = folder / "shop.py"
    path.write_text(f'{head}    {body}\n\nplan = Plan("{url}", iterations(1), browse)\n')
    return loadgen("check", path)


def test_a_failed_request_is_shown_with_what_was_sent_and_received(shop: RunningTarget, tmp_path: Path) -> None:
    body = 'await user.http.post("/login", json={"email": "a@b.example", "password": "geheim"}, expect=418)'
    result = check_of(tmp_path, shop.url, body)

    assert result.exit_code == 1
    sent, _, received = result.stdout.partition("  sent:")[2].partition("  received:")
    assert "    POST /login HTTP/1.1\n" in sent
    assert "    Content-Type: application/json\n" in sent
    assert '    {"email":"a@b.example","password":"****"}' in sent
    assert "    HTTP/1.1 " in received
    assert "geheim" not in result.stdout
    assert result.stdout.count("shop.py:5 in browse") == 1


def test_an_error_of_the_scenario_is_shown_once_with_the_last_request(shop: RunningTarget, tmp_path: Path) -> None:
    result = check_of(tmp_path, shop.url, 'await user.http.get("/", expect=200)\n    print([][3])')

    assert result.exit_code == 1
    assert result.stdout.count("shop.py:6 in browse") == 1
    assert result.stdout.count("IndexError") == 2  # the outcome, and its text
    assert "  last request before it:\n    GET / HTTP/1.1" in result.stdout


def test_a_failed_set_up_is_shown_with_its_request(shop: RunningTarget, tmp_path: Path) -> None:
    path = browse_with(tmp_path, target=f'"{shop.url}"', set_up="prepare")
    set_up = 'async def prepare(user: User) -> None:\n    await user.http.get("/", expect=418)\n\n\n'
    path.write_text(path.read_text().replace("plan = Plan(", set_up + "plan = Plan("))

    result = loadgen("check", path)

    assert result.exit_code == 1
    assert result.stdout.count("scenario.py:10 in prepare") == 1
    assert "    GET / HTTP/1.1" in result.stdout


async def test_a_hostile_answer_cannot_control_the_terminal(tmp_path: Path) -> None:
    answer = ok("PASSED \u202e fgh".encode(), "Content-Type: text/plain", "X-A: a\x9bb", status="500 X")
    async with scripted(answer) as server:
        body = 'await user.http.get("/", expect=200)'
        result = await asyncio.to_thread(check_of, tmp_path, server.url, body)

    assert "HTTP/1.1 500 X" in result.stdout
    assert "\\u202e" in result.stdout
    assert not {"\x9b", "\u202e", "\x1b"} & set(result.stdout)


# -- the watch --------------------------------------------------------------------------------------


class Script:
    """A clock for the watch: each of its pauses runs the next action, and the last one ends the watch."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self.at_s = 0.0
        self._actions = list(actions)

    def now_s(self) -> float:
        return self.at_s

    async def sleep(self, wait_s: float) -> None:
        self.at_s += wait_s
        for _ in range(20):  # the round of the watch goes on meanwhile
            await asyncio.sleep(0)
        if not self._actions:
            raise asyncio.CancelledError
        self._actions.pop(0)()


def save(path: Path, text: str) -> None:
    """Write a file, with a time of modification that differs from the one before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1, before + 1_000_000))


async def watched(path: Path, *actions: Callable[[], object]) -> list[str]:
    """Return what the watch did, while the actions happen one after the other."""
    done: list[str] = []

    async def run(scenario: Scenario, spacing: Spacing) -> None:
        done.append(f"run {scenario.plan.target}")

    def show(error: Exception) -> None:
        assert isinstance(error, ScenarioError)
        done.append(error.faults[0].message)

    with suppress(asyncio.CancelledError):
        await Watch(path, lambda: load(path), run, show, Output(), Script(*actions)).forever()
    return done


def nothing() -> None:
    pass


async def test_a_saved_file_is_checked_again_and_a_broken_one_does_not_end_the_watch(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    good = path.read_text()

    done = await watched(
        path,
        nothing,
        lambda: save(path, good.replace("10/s", "ten")),
        nothing,
        lambda: save(path, "def"),
        lambda: save(path, good.replace(":8080", ":9090")),
        nothing,
    )

    assert [text.partition(";")[0].partition(":")[0] for text in done] == [
        "run http",
        'invalid rate "ten"',
        "syntax error",
        "run http",
    ]
    assert done[-1] == "run http://127.0.0.1:9090"


async def test_a_data_file_is_watched_and_output_of_the_check_is_not(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    rows = tmp_path / "data" / "rows.csv"
    rows.parent.mkdir()
    rows.write_text("a\n")

    done = await watched(path, lambda: save(tmp_path / "check.log", "x"), nothing, lambda: save(rows, "b\n"), nothing)

    assert len(done) == 2


async def test_iterations_start_a_second_apart_also_over_several_rounds() -> None:
    script = Script(*[nothing] * 10)
    spacing = Spacing(script)
    starts: list[float] = []

    async def iterations(count: int) -> AsyncIterator[int]:
        for n in range(count):
            starts.append(script.at_s)
            yield n

    for count in (2, 1, 2):
        assert [n async for n in spaced(iterations(count), spacing)] == list(range(count))

    assert all(later - earlier >= MIN_SPACING_S for earlier, later in pairwise(starts))


def test_files_are_compared_by_time_and_size(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "a.py")
    gone = write(tmp_path, "x", "data/b.csv")
    write(tmp_path, "x", "runs/c.csv")
    before = state_of(watched_files(path))
    assert {one.name for one in before} == {"a.py", "b.csv"}

    gone.unlink()
    created = write(tmp_path, "x", "d.toml")

    assert changed(before, state_of({*before, *watched_files(path)})) == (created, gone)


def test_a_watch_of_a_public_host_is_refused_even_if_the_host_may_be_loaded(tmp_path: Path) -> None:
    path = browse_with(tmp_path, target='"http://93.184.216.34"')

    result = loadgen("check", path, "--watch", "--i-may-load", "93.184.216.34")

    assert result.exit_code == 2
    assert "--watch sends only to loopback and private hosts" in result.stderr


@pytest.mark.parametrize("more", [["--policy"], ["--arrival", "1", "--from", "last"]])
def test_a_watch_repeats_only_the_plain_check(tmp_path: Path, more: list[str]) -> None:
    assert loadgen("check", browse_with(tmp_path), "--watch", *more).exit_code == 2


def test_a_watch_of_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    result = loadgen("check", tmp_path / "none.py", "--watch")

    assert result.exit_code == 2
    assert "no such file" in result.stderr


def plan_at(**arguments: Any) -> Plan:
    return Plan(**{"target": "http://shop.example", **arguments})


def test_each_target_of_a_watch_must_be_private() -> None:
    addresses = {"shop.example": ["10.0.0.1"], "cdn.example": ["93.184.216.34"]}

    check_private(plan_at(), resolve=addresses.__getitem__)
    with pytest.raises(UsageError, match=r"cdn\.example"):
        check_private(plan_at(targets={"cdn": "http://cdn.example"}), resolve=addresses.__getitem__)


async def test_a_redirect_to_a_public_address_is_not_followed_by_a_watch() -> None:
    await PRIVATE_ONLY.check("shop.example", "10.0.0.1", 80)
    with pytest.raises(RequestFailed) as refused:
        await PRIVATE_ONLY.check("cdn.example", "93.184.216.34", 80)
    assert refused.value.outcome == f"{NOT_ALLOWED}public"
