"""Who may be loaded, end to end: the list decides, at the controller and at each connection of the agents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadgen.engine.health.process_health import own_addresses
from loadgen.signed.signatures import make
from loadgen.wire.key_folder_changes import add_agent, handout, init_keys
from tests.support.arrivals import arrivals
from tests.support.ports import free_ports
from tests.support.run import loadgen, started
from tests.support.scenarios import write

SCENARIO = '''
"""One page."""

from loadgen import Plan, User, {load}, journey


@journey
async def browse(user: User) -> None:
    await user.http.get("/", follow_redirects=True)


plan = Plan(target="{url}", load={of}, mix=browse)
'''

GREEDY = '''
"""Asks for much more than its iterations say."""

from loadgen import Plan, User, arrivals, journey
from loadgen.errors import RequestFailed


@journey
async def browse(user: User) -> None:
    for _ in range(10):
        try:
            await user.http.get("/")
        except RequestFailed as failure:
            assert failure.outcome == "over the cap"


plan = Plan(target="{url}", load=arrivals("100/s").hold("6s"), mix=browse)
'''

WITH_LIBRARY = '''
"""A client library that opens two connections: to its target, and elsewhere."""

import asyncio

from loadgen import Plan, User, iterations, journey


@journey
async def reads(user: User) -> None:
    for host in ("{host}", "127.0.0.3"):
        try:
            async with user.measure(f"to {{host}}", outcomes={{OSError: "refused"}}):
                _, writer = await asyncio.open_connection(host, {port})
                writer.close()
        except OSError:
            pass


plan = Plan(targets={{"cache": "redis://{host}:{port}"}}, load=iterations(4), mix=reads)
'''


def listed(folder: Path, host: str = "127.0.0.0/8", more: str = "") -> str:
    path = folder / "allow.toml"
    path.write_text(f'[[allow]]\nhost = "{host}"\nowner = "us"\nexpires = 2999-01-01\n{more}\n')
    return str(path)


def scenario(folder: Path, url: str, load: str = "arrivals", of: str = 'arrivals("10/s").hold("2s")') -> str:
    return str(write(folder / "scenario", SCENARIO.replace("{load}", load).replace("{of}", of).replace("{url}", url)))


@contextmanager
def agent(address: str, keys: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "loadgen_agent.cli",
        "--controller",
        address,
        "--region",
        "local",
        "--keys",
        str(keys),
    ]
    with subprocess.Popen([*command, "--workers", "1", *more], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def outcomes(summary: dict[str, object], kind: str = "request") -> dict[str, int]:
    found: dict[str, int] = {}
    rows = summary["series"]
    assert isinstance(rows, list)
    for row in rows:
        if row["kind"] == kind and row["region"] == "*" and row["outcome"] != "*" and row.get("step") is None:
            found[row["outcome"]] = found.get(row["outcome"], 0) + row["count"]
    return found


def test_a_plan_above_the_caps_is_refused_with_all_that_is_too_much(tmp_path: Path) -> None:
    more = 'max_requests_per_s = 50\nmax_users = 10\nmax_duration = "5s"'
    with arrivals() as target:
        path = scenario(tmp_path, target.url, of='arrivals("60/s").hold("1m")')
        done = loadgen("run", path, "--allow", listed(tmp_path, more=more), runs_dir=tmp_path / "runs")

    assert done.exit_code == 2
    said = " ".join(done.err.split())
    for text in (
        "60 iterations/s are planned",
        "50 requests/s",
        "sets none: add max_users=",
        "60 s of load are planned",
    ):
        assert text in said
    assert not target.at_s


def test_a_target_that_is_not_listed_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with arrivals() as target:
        path = scenario(tmp_path, target.url)
        done = loadgen("run", path, "--allow", listed(tmp_path, "10.0.0.0/8"), runs_dir=tmp_path / "runs")

    assert done.exit_code == 2
    assert "no entry of the allow-list names it" in " ".join(done.err.split())
    assert not target.at_s


def test_a_library_connects_to_its_target_and_to_no_other_address(tmp_path: Path) -> None:
    with arrivals() as target:
        host, port = target.url.removeprefix("http://").split(":")
        path = str(write(tmp_path / "scenario", WITH_LIBRARY.format(host=host, port=port)))
        done = loadgen("run", path, "--allow", listed(tmp_path, f"{host}/32"), runs_dir=tmp_path / "runs")

    assert outcomes(done.summary) == {"ok": 4, "not allowed: no entry": 4}
    assert any("a library was not allowed to connect: 127.0.0.3" in note for note in done.summary["notes"])


def test_a_library_that_connects_in_c_is_refused_with_a_list_unless_the_plan_names_it(tmp_path: Path) -> None:
    source = SCENARIO.replace("{load}", "iterations").replace("{of}", "iterations(2){more}")
    source = source.replace(
        "user: User) -> None:", "user: User) -> None:\n    if user.iteration > 5:\n        import pymqi  # noqa"
    )
    with arrivals() as target:
        source = source.replace("{url}", target.url)
        path = str(write(tmp_path / "scenario", source.replace("{more}", "")))
        done = loadgen("run", path, "--allow", listed(tmp_path), runs_dir=tmp_path / "runs")
        assert done.exit_code == 2
        assert 'unchecked_libraries=["pymqi"]' in " ".join(done.err.split())
        assert loadgen("run", path, runs_dir=tmp_path / "without").exit_code == 0

        path = str(write(tmp_path / "named", source.replace("{more}", ', unchecked_libraries=["pymqi"]')))
        done = loadgen("run", path, "--allow", listed(tmp_path), runs_dir=tmp_path / "runs")
    assert done.exit_code == 0
    assert any("did not check connections of pymqi" in note for note in done.summary["notes"])


def test_agents_on_other_hosts_need_a_list(tmp_path: Path) -> None:
    init_keys(tmp_path / "keys")
    add_agent(tmp_path / "keys", "agent")
    path = scenario(tmp_path, "http://127.0.0.1:1")
    args = ("run", path, "--listen", "0.0.0.0:0", "--keys", str(tmp_path / "keys"))
    done = loadgen(*args, runs_dir=tmp_path / "runs")

    assert done.exit_code == 2
    assert "an allow-list of targets is required" in " ".join(done.err.split())


def test_never_more_than_the_cap_in_any_second_although_ten_times_as_much_is_asked(tmp_path: Path) -> None:
    """F29. 100 iterations/s of ten requests each, three agents of two workers, a cap of 100 requests/s."""
    with arrivals() as target:
        path = str(write(tmp_path / "scenario", GREEDY.replace("{url}", target.url)))
        allow = listed(tmp_path, more="max_requests_per_s = 100")
        args = ("run", path, "--allow", allow, "--regions", "a=1,b=1,c=1", "--workers", "2", "--no-error-fuse")
        done = loadgen(*args, runs_dir=tmp_path / "runs")

    # What arrived within 1 s less the slowest request's time was started within 1 s, however busy the machine was.
    slowest_s = done.row("request", request="GET /")["response_ms"]["max"] / 1000
    assert target.busiest(1.0 - slowest_s) <= 102, done.out
    assert len(target.at_s) >= 0.9 * 600
    held_back = next(row for row in done.summary["custom"] if row["name"] == "cap: requests not started")
    assert held_back["total"] + len(target.at_s) == 6_000
    assert "requests were not started: the allow-list's cap is 100 requests/s" in " ".join(done.out.split())


def test_a_redirect_leads_nowhere_and_the_run_ends_fast_with_the_reason(tmp_path: Path) -> None:
    """F28: the target is on the list, and where it sends everybody is not."""
    with arrivals() as target, arrivals() as inner:
        target.moved_to = inner.url
        path = scenario(tmp_path, target.url, of='arrivals("20/s").hold("30s")')
        allow = listed(tmp_path, more=f"ports = [{target.port}]")
        done = loadgen("run", path, "--allow", allow, runs_dir=tmp_path / "runs")

    assert not inner.at_s
    assert target.at_s
    assert "not allowed: port" in done.out
    assert done.exit_code == 2


@pytest.mark.parametrize("signed_by", ["", "ours", "theirs"])
def test_an_agent_takes_only_bundles_that_are_signed_by_whom_it_trusts(tmp_path: Path, signed_by: str) -> None:
    """F27. And an agent on another host takes part where there is a list."""
    address = next((one for one in own_addresses() if ":" not in one and not one.startswith("127.")), "127.0.0.1")
    keys = tmp_path / "keys"
    init_keys(keys)
    add_agent(keys, "agent")
    for name in ("ours", "theirs"):
        make(tmp_path / name)
    signing = ("--sign-with", str(tmp_path / signed_by / "signing.key")) if signed_by else ()
    with arrivals() as target:
        path = scenario(tmp_path, target.url)
        args = ("run", path, "--listen", f"{address}:0", "--keys", str(keys), "--allow", listed(tmp_path), *signing)
        with started(*args, runs_dir=tmp_path / "runs") as run:
            assert run.stdout is not None
            line = run.stdout.readline()
            while "listening on" not in line:
                assert line, "it ended"
                line = run.stdout.readline()
            with agent(line.split()[2], handout(keys, "agent"), "--signed-by", str(tmp_path / "ours" / "signing.pub")):
                said = line + run.stdout.read()
                code = run.wait(60)

    assert (code, len(target.at_s)) == ((0, 20) if signed_by == "ours" else (5, 0)), said
    if signed_by != "ours":
        assert ("is not signed" if not signed_by else "is signed with another key") in " ".join(said.split())


CACHED = '''
"""A page, and a cache to which only a library connects."""

from loadgen import Plan, User, arrivals, journey


@journey
async def browse(user: User) -> None:
    await user.http.get("/")
    user.target("cache")


targets = {"shop": "SHOP", "cache": "redis://127.0.0.2:6379"}
plan = Plan(targets=targets, target="shop", load=arrivals("10/s").hold("2s"), mix=browse)
'''


@pytest.mark.parametrize("has_cache", [True, False])
def test_an_agent_with_an_allow_list_of_its_own_refuses_a_librarys_target_before_any_iteration(
    tmp_path: Path, has_cache: bool
) -> None:
    """The controller's list admits the target. No check of connections would see it."""
    keys = tmp_path / "keys"
    init_keys(keys)
    add_agent(keys, "agent")
    own = tmp_path / "own.toml"
    hosts = ("127.0.0.1", "127.0.0.2") if has_cache else ("127.0.0.1",)
    own.write_text("".join(f'[[allow]]\nhost = "{one}"\nowner = "us"\nexpires = 2999-01-01\n' for one in hosts))
    with arrivals() as target:
        path = str(write(tmp_path / "scenario", CACHED.replace("SHOP", target.url)))
        args = ("run", path, "--listen", "127.0.0.1:0", "--keys", str(keys), "--allow", listed(tmp_path))
        with started(*args, runs_dir=tmp_path / "runs") as run:
            assert run.stdout is not None
            line = run.stdout.readline()
            while "listening on" not in line:
                assert line, "it ended"
                line = run.stdout.readline()
            with agent(line.split()[2], handout(keys, "agent"), "--id", "agent.here", "--allow", str(own)):
                said = " ".join((line + run.stdout.read()).split())
                code = run.wait(60)

    assert len(target.at_s) == (20 if has_cache else 0), said
    assert code in ((0, 4) if has_cache else (5,)), said  # 4: the machine was too busy
    if not has_cache:
        assert 'agent agent.here cannot take part: TargetNotAllowed: target "cache" 127.0.0.2:6379' in said
        assert "no entry of the allow-list names it (the agent's own allow-list, own.toml)" in said


def test_a_run_signed_at_the_terminal_goes_through_a_controller_that_has_no_signing_key(tmp_path: Path) -> None:
    """The terminal signs the controller's list, too. The controller can change nothing, and cannot sign by itself."""
    keys, runs = tmp_path / "keys", tmp_path / "runs"
    init_keys(keys)
    add_agent(keys, "agent")
    make(tmp_path / "ours")
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    allow = listed(tmp_path)
    serving = ("controller", "--keys", str(keys), "--listen", listen, "--api", api, "--allow", allow)
    signing = ("--sign-with", str(tmp_path / "ours" / "signing.key"))
    with arrivals() as target, started(*serving, "--runs-dir", str(runs), runs_dir=runs) as controller:
        assert controller.stdout is not None
        while "listening for agents on" not in (line := controller.stdout.readline()):
            assert line, "it ended"
        ordered = ("run", scenario(tmp_path, target.url), "--controller", api, "--quiet")
        with agent(listen, handout(keys, "agent"), "--signed-by", str(tmp_path / "ours" / "signing.pub")):
            signed = loadgen(*ordered, *signing, "--allow", allow, runs_dir=tmp_path / "here")

    assert signed.exit_code in (0, 4), signed.out + signed.err  # 4: the machine was too busy
    assert len(target.at_s) == 20
