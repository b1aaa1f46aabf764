"""What a person asks before a run: plan, check --policy, a URL without a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen_controller.cli import app
from tests.support.scenarios import write
from tests.support.target import RunningTarget, running_target

SCENARIO = """
from dataclasses import dataclass

from loadgen import Plan, User, arrivals, error_ratio, feed, journey, p, users


@dataclass(frozen=True)
class Row:
    sku: str


ROWS = feed.rows([Row("sku-0001"), Row("sku-0002")])


@journey(data=ROWS.unique(when_out="cycle"))
async def look(user: User, row: Row) -> None:
    await user.http.get("/", expect=200)
    await user.http.get("/products/" + row.sku, {name}expect=200)
    {think}


plan = Plan(target="http://127.0.0.1:1", load={load}, mix=look{more})
"""


def scenario(
    folder: Path, *, name: str = "", think: str = "pass", load: str = 'arrivals("20/s").hold("5s")', more: str = ""
) -> Path:
    text = SCENARIO.replace("{name}", name).replace("{think}", think).replace("{load}", load).replace("{more}", more)
    return write(folder, text)


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target("--no-latency") as target:
        yield target


# -- plan -----------------------------------------------------------------------------------------


def test_plan_sends_one_iteration_of_each_journey_and_no_more(shop: RunningTarget, tmp_path: Path) -> None:
    shop.reset()
    path = scenario(tmp_path, think='await user.think("3s")')
    result = loadgen("plan", path, "--target", shop.url, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert shop.stats()["requests"] == 2
    assert (found["iterations"], found["requests"], found["peak_requests_per_s"]) == (100, 200, 40)
    assert 60 <= found["users"] <= 80, "20/s for 3 s of thinking, and the response on a busy machine"
    assert found["rows"] == [{"journey": "look", "data": "rows", "needed": 1, "there": 2}]


def test_plan_shows_the_way_to_the_target(tmp_path: Path) -> None:
    path = scenario(
        tmp_path, more=', http=__import__("loadgen").Http(dns_ttl="5s", resolve={"shop.example": "10.0.0.1"})'
    )
    result = loadgen("plan", path, "--no-trial", "--resolve", "api.example:443:10.0.0.2")
    assert result.exit_code == 0, result.stderr
    assert "http       dns_ttl = 5s" in result.stdout
    assert "shop.example': ['10.0.0.1'], 'api.example:443': ['10.0.0.2']" in result.stdout


def test_plan_without_a_trial_sends_nothing_and_can_be_compared(shop: RunningTarget, tmp_path: Path) -> None:
    shop.reset()
    args = ("plan", scenario(tmp_path), "--target", shop.url, "--no-trial")
    first, second = loadgen(*args), loadgen(*args)
    faster = loadgen(*args, "--rate", "40/s")
    assert first.stdout == second.stdout
    assert shop.stats()["requests"] == 0
    before, after = (set(r.stdout.splitlines()) for r in (first, faster))
    assert "iterations look: 100" in before - after
    assert "iterations look: 200" in after - before


def test_plan_says_which_journey_failed_in_the_trial(tmp_path: Path) -> None:
    result = loadgen("plan", scenario(tmp_path))
    assert result.exit_code == 1
    assert "look failed: refused" in result.stdout
    assert "requests and users: unknown without a trial" in result.stdout


# -- the house's standard -------------------------------------------------------------------------


POLICY = """
[policy]
names = true
slos = true
think = true
owner = true
tags = ["service"]
max_rate = 10
"""


def test_all_that_the_standard_asks_for_is_said_at_once_with_its_line(shop: RunningTarget, tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(POLICY)
    result = loadgen("check", scenario(tmp_path), "--policy")
    assert result.exit_code == 1
    for text in (
        "scenario.py:18",
        'add a name, for example name="/products/{sku}"',
        "journey look has no objective",
        "the plan has no owner",
        'no label "service"',
        "peak of 20.0/s is above 10.0/s",
        "violates 5 point(s)",
    ):
        assert text in result.stdout


def test_a_closed_load_that_never_pauses_is_no_person(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text("[policy]\nthink = true\n")
    tight = loadgen("check", scenario(tmp_path, load='users(5).hold("5s")'), "--policy")
    paced = loadgen("check", scenario(tmp_path, load='users(5).hold("5s")', think="await user.think(1)"), "--policy")
    by_load = loadgen("check", scenario(tmp_path, load='users(5).hold("5s").pace("1s")'), "--policy")
    assert "look runs in a closed load and neither thinks nor keeps a pace" in tight.stdout
    assert (tight.exit_code, paced.exit_code, by_load.exit_code) == (1, 0, 0)


@pytest.mark.parametrize(("think", "exit_code"), [("", 1), (", think=(1, 3)", 0), (", think=0", 1)])
def test_a_graph_pauses_on_its_edges(think: str, exit_code: int, tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text("[policy]\nthink = true\n")
    path = write(
        tmp_path,
        f"""
        from loadgen import Plan, User, graph, journey, leave, users

        @journey
        async def home(user: User) -> None:
            await user.http.get("/", expect=200)

        shop = graph({{home: {{home: .5, leave: .5}}}}{think})
        plan = Plan(target="http://127.0.0.1:1", load=users(5).hold("5s"), mix=shop)
        """,
    )
    assert loadgen("check", path, "--policy").exit_code == exit_code


def test_a_scenario_that_keeps_to_the_standard_passes(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(POLICY.replace("max_rate = 10", "max_rate = 50"))
    more = ', slos=[p(95) < "300ms"], owner="shop@example.org", labels={"service": "shop"}'
    result = loadgen("check", scenario(tmp_path, name='name="/products/{sku}", ', more=more), "--policy")
    assert result.exit_code == 0, result.stdout
    assert "meets the policy in loadgen.toml" in result.stdout


def test_without_a_standard_there_is_nothing_to_keep_to(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # the search for loadgen.toml ends here
    result = loadgen("check", scenario(tmp_path), "--policy")
    assert result.exit_code == 2
    assert "loadgen.toml has no [policy]" in result.stderr


# -- one iteration again, one URL -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--arrival", "3"), "--arrival and --from must be given together"),
        (("--arrival", "x", "--from", "last"), "no run"),
        ((), "no scenario"),
        (("--load", "spike"), "--load needs --arrival"),
    ],
)
def test_what_does_not_go_together_is_said(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = loadgen("check", *args, "--runs-dir", tmp_path)
    assert result.exit_code in (2, 5)
    assert message in result.stderr


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://", "the host is missing"),
        ("ftp://127.0.0.1/", "must begin with http:// or https://"),
        ("http://user:secret@127.0.0.1/", "contains credentials"),
        ("http://127.0.0.1:99999/", "invalid URL"),
        ("http://169.254.169.254/", "link-local"),
        ("http://8.8.8.8/", "is public"),
    ],
)
def test_urls_that_cannot_be_loaded_are_refused(url: str, message: str, tmp_path: Path) -> None:
    result = loadgen("run", url, "--rate", "5/s", "--duration", "1s", "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "secret" not in result.stderr
    assert not (tmp_path / "runs").exists()


HTTPX = """from loadgen import Plan, User, journey, users

@journey
async def look(user: User) -> None:
    await user.httpx.get("/")

plan = Plan(target="http://127.0.0.1:1", load=users(1).hold("1s"), mix=look)
"""


def test_check_shows_the_status_of_what_user_httpx_asked_for(shop: RunningTarget, tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(HTTPX)
    result = loadgen("check", tmp_path / "asks.py", "--target", shop.url)
    assert result.exit_code == 0, result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("GET / "))
    assert row.split()[2:5] == ["-", "200", "ok"]


MEETS = """
from loadgen import Plan, User, journey, users


@journey
async def sale(user: User) -> None:
    assert await user.rendezvous("sale opens", users=1_000, timeout="1h")
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", load=users(1_000).hold("1m"), mix=sale)
"""


def test_check_waits_for_nobody_at_a_rendezvous_and_says_so(shop: RunningTarget, tmp_path: Path) -> None:
    (tmp_path / "meets.py").write_text(MEETS)
    result = loadgen("check", tmp_path / "meets.py", "--target", shop.url)
    assert result.exit_code == 0, result.stdout
    assert "rendez-vous sale opens: in a run, 1,000 users meet here; this one did not wait" in result.stdout
