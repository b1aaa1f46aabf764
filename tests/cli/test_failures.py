"""Why it failed, in two commands: what failed, then one of them whole. And an earlier run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from loadgen.measure.deltas.exemplar import Failure, KeptFailure
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.run_as_dataframes import open_run
from loadgen.wire import codec
from loadgen_controller import cli
from loadgen_controller.commands import failures
from loadgen_controller.run.failure_files import FailureFolder
from tests.support.deltas import FakeAgent, request_key
from tests.support.run import loadgen as run_loadgen
from tests.support.target import running_target

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
FAILURE = Failure(
    "shop",
    "pay",
    "POST /cart",
    "expect status",
    load=1,
    n=(12 << 32) + 3,
    at_ns=1_500_000_000,
    response_ns=23_000_000,
    detail="got 500, expected 201",
    where="shop.py:14 in shop",
    traceback='  File "shop.py", line 14, in shop',
    row='{"user": "a", "password": "****"}',
    sent="POST /cart HTTP/1.1\r\nHost: shop\r\n\r\n{}",
    received='HTTP/1.1 500 No\r\n\r\n{"error": "\x1b[31mred [bold]"}',
    trace="ab" * 16,
)
OTHER = replace(FAILURE, request="", outcome="script KeyError", load=0, n=7, step="", received="", trace="")


def loadgen(*args: str | Path) -> Result:
    app = typer.Typer(cls=cli.Program)
    app.callback()(lambda: None)
    app.command(failures.NAME)(failures.main)
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "100"})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of which nobody has written a summary yet, with three failures."""
    monkeypatch.chdir(tmp_path)
    folder = RunDir.create(tmp_path / "runs", "20261124-170312-shop-a1b2")
    folder.write_manifest(
        {
            "format": 1,
            "run_id": folder.run_id,
            "assignment": {"agents": ["agent-1"], "regions": ["eu"], "weights": [1]},
            "spec": {
                "lanes": [{"name": ""}, {"name": "the spike"}],
                "trace": {"link": "https://traces.example/{trace_id}"},
            },
        }
    )
    bad = request_key("POST /cart", "expect status", journey="shop", step="pay")
    folder.append(codec.encode(FakeAgent("agent-1").delta({request_key(): [1], bad: [5, 6, 7]})))
    folder.sync()
    folder.close()
    written = FailureFolder(folder.failures_path, pytest.fail)
    written.write("agent-1", "eu", [FAILURE, replace(FAILURE, n=9), OTHER])
    written.close()
    return tmp_path / "runs"


@pytest.mark.usefixtures("runs")
def test_the_list_has_kinds_with_counts_and_the_first_of_each_with_how_to_go_on() -> None:
    result = loadgen("failures", "last")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[3].split() == ["expect", "status", "POST", "/cart", "shop", "1,", "2", "3"]
    kept = [line for line in lines if line[:1].isdigit()]
    assert [line[0] for line in kept] == ["1", "3", "2"]  # one of each kind before the others
    assert kept[0].startswith("1  expect status: POST /cart, journey shop, arrival 12.3, eu, at 1.50 s after 23.0 ms")
    assert "   got 500, expected 201" in lines
    assert lines[-2].endswith("loadgen failures 20261124-170312-shop-a1b2 1")
    assert lines[-1].endswith("loadgen check --arrival 12.3 --from 20261124-170312-shop-a1b2 --load 'the spike'")


@pytest.mark.usefixtures("runs")
def test_one_is_shown_whole_with_its_body_and_nothing_in_it_steers_the_terminal() -> None:
    result = loadgen("failures", "2026", "1")
    assert result.exit_code == 0
    text = result.output
    for part in (
        "1 of 3: POST /cart: expect status",
        "journey shop, step pay; arrival 12.3 of load the spike",
        "agent agent-1 in eu; at 1.500 s, after 23.0 ms",
        f"trace {'ab' * 16}: https://traces.example/{'ab' * 16}",
        "got 500, expected 201",
        "at shop.py:14 in shop",
        '  {"user": "a", "password": "****"}',
        '    File "shop.py", line 14, in shop',
        "  POST /cart HTTP/1.1\n  Host: shop\n  \n  {}\n",
        '  {"error": "\\x1b[31mred [bold]"}',
    ):
        assert part in text, part
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_trace_that_was_not_sampled_has_no_link(runs: Path) -> None:
    path = runs / "20261124-170312-shop-a1b2" / "manifest.json"
    manifest = json.loads(path.read_text())
    for sample, after in ((0.5, f": https://traces.example/{'ab' * 16}"), (0.1, " (not sampled by the plan)")):
        manifest["spec"]["trace"]["sample"] = sample
        path.write_text(json.dumps(manifest))
        assert f"trace {'ab' * 16}{after}\n" in loadgen("failures", "2026", "1").output


@pytest.mark.usefixtures("runs")
def test_what_got_no_answer_and_what_was_no_request_says_so() -> None:
    text = loadgen("failures", "last", "3").output
    assert "3 of 3: iteration: script KeyError" in text
    assert "Last request before it" in text
    assert "No answer was received." in text
    assert text.rstrip().endswith("loadgen check --arrival 7 --from 20261124-170312-shop-a1b2")


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--request", "cart"), [1, 2]),
        (("--outcome", "script"), [3]),
        (("--arrival", "9"), [2]),
        (("--arrival", "12.3"), [1]),
        (("--limit", "1"), [1]),
        (("2",), [2]),
        (("--request", "nothing"), []),
    ],
)
@pytest.mark.usefixtures("runs")
def test_json_has_those_that_were_asked_for_whole(options: tuple[str, ...], numbers: list[int]) -> None:
    found = json.loads(loadgen("failures", "last", "--json", *options).stdout)
    assert [one["number"] for one in found] == numbers
    names = set(KeptFailure.__dataclass_fields__) - {"failure"} | set(Failure.__dataclass_fields__)
    assert all(one.keys() == names for one in found)


def test_a_number_that_is_not_there_and_a_run_that_is_not_there_say_what_there_is(runs: Path) -> None:
    result = loadgen("failures", "last", "9")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no failure 9 in 20261124-170312-shop-a1b2\n  hint: choose one of 1 to 3\n",
    )
    assert "no run x" in loadgen("failures", "x").stderr
    assert "kept failures matches" in loadgen("failures", "last", "--request", "nothing").output
    elsewhere = runs.rename(runs.with_name("other runs"))
    hint = loadgen("failures", "last", "--runs-dir", elsewhere).output.splitlines()[-1]
    assert hint.endswith(f"--load 'the spike' --runs-dir '{elsewhere}'")


def test_an_old_run_has_its_kinds_and_says_that_nothing_is_kept_whole(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "old")
    result = loadgen("failures", tmp_path / "old")
    assert result.exit_code == 0
    assert "expect status" in result.output
    assert "no failure was kept in full" in result.output


def test_where_nothing_failed_it_says_why_the_run_is_invalid_or_suspect(tmp_path: Path) -> None:
    run = shutil.copytree(OLD, tmp_path / "old")
    made = json.loads((run / "summary.json").read_text())
    made["series"] = [row for row in made["series"] if row["outcome"] in ("*", "ok")]
    made |= {"result": "invalid", "exit_code": 4, "reasons": ["SLO p(95) < 1ms failed: observed 2 ms"]}
    made["validity"] = {"verdict": "invalid", "reasons": ["this machine is busy, so times cannot be judged"]}
    (run / "summary.json").write_text(json.dumps(made))
    result = loadgen("failures", run)
    assert result.exit_code == 0
    assert result.output == "nothing failed\nthe run is invalid: this machine is busy, so times cannot be judged\n"

    made |= {"result": "passed", "exit_code": 0, "validity": made["validity"] | {"verdict": "suspect"}}
    (run / "summary.json").write_text(json.dumps(made))
    assert "the run is suspect: this machine is busy" in loadgen("failures", run).output


# -- real runs --------------------------------------------------------------------------------

SCENARIO = '''
"""Every cart is refused, since nobody has logged in."""
from dataclasses import dataclass

from loadgen import Plan, User, arrivals, feed, journey


@dataclass(frozen=True)
class Shopper:
    email: str
    password: str


@journey(data=feed.csv("shoppers.csv", Shopper))
async def shop(user: User, shopper: Shopper) -> None:
    async with user.step("buy"):
        body = {"password": shopper.password, "size": user.random.randint(1, 10**9)}
        await user.http.post("/cart?session=CANARY", json=body, headers={"X-Api-Key": "CANARY"}, expect=201)


plan = Plan(
    target="http://127.0.0.1:1", load=arrivals("20/s").hold("1s"), mix={shop: 1}, regions={"eu": 0.5, "us": 0.5}
)
'''


@dataclass(frozen=True)
class Ran:
    runs_dir: Path
    first: Path
    again: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """A run that fails, and the same again by its folder alone."""
    here = tmp_path_factory.mktemp("failing")
    scenario = here / "shop.py"
    scenario.write_text(SCENARIO)
    (here / "shoppers.csv").write_text("email,password\n" + "".join(f"a{n}@b,CANARY{n}\n" for n in range(40)))
    with running_target("--no-latency") as target:
        done = run_loadgen("run", str(scenario), "--target", target.url, "--quiet", runs_dir=here / "runs")
        assert done.exit_code in (1, 4), done.err
        (first,) = (here / "runs").iterdir()
        scenario.unlink()
        again = run_loadgen("runs", "rerun", first.name, "--quiet", "--runs-dir", str(here / "runs"), runs_dir=here)
        assert again.exit_code in (1, 4), again.err
        assert again.err == ""
        (second,) = set((here / "runs").iterdir()) - {first}
        yield Ran(here / "runs", first, second)


def test_a_failing_requests_body_is_two_commands_away(ran: Ran) -> None:
    listed = loadgen("failures", ran.first.name, "--runs-dir", ran.runs_dir).output
    (command,) = [line.split(": ", 1)[1] for line in listed.splitlines() if line.startswith("Show one in full")]
    whole = loadgen(*command.replace("'", "").split()[1:]).output
    assert '{"error":"log in first"}' in whole
    assert "got 401, expected 201" in whole
    assert "at shop.py:" in whole
    assert '"email": "a' in whole


def test_no_secret_is_in_any_file_that_a_run_leaves(ran: Ran) -> None:
    for path in ran.first.rglob("*"):
        if path.is_file() and path.name != "bundle.tar":  # which has the rows: they are data, and declared as such
            assert b"CANARY" not in path.read_bytes(), path
    run = open_run(ran.first)
    assert "CANARY" not in repr([*run.deltas(), run.failures, run.exemplars])
    assert len(open_run(ran.first).failures) == 2 * 5


def test_a_run_is_run_again_with_the_same_seed_arrivals_rows_and_random_numbers(ran: Ran) -> None:
    first, again = open_run(ran.first), open_run(ran.again)
    for name in ("seed", "scenario", "plan", "overrides", "bundle", "assignment", "spec"):
        assert first.manifest[name] == again.manifest[name], name
    sent = [
        {kept.failure.n: (kept.failure.row, kept.failure.sent.partition("\r\n\r\n")[2]) for kept in run.failures}
        for run in (first, again)
    ]
    common = sent[0].keys() & sent[1].keys()
    assert len(common) >= 8  # the first five of each of two agents; which are first may differ at the edge
    assert all(sent[0][n] == sent[1][n] for n in common)


def test_a_run_of_another_loadgen_is_run_again_with_a_warning_and_needs_its_bundle(ran: Ran, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    copy = runs / ran.first.name
    shutil.copytree(ran.first, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["versions"]["loadgen"] = "0.0.1"
    manifest["placement"] = "fleet"
    (copy / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    result = CliRunner().invoke(cli.app, ["runs", "rerun", "last", "--runs-dir", str(runs)])
    assert result.exit_code == 2
    assert "was made by loadgen 0.0.1" in result.stderr
    assert "ran on a fleet" in result.stderr
    (copy / "bundle.tar").unlink()
    result = CliRunner().invoke(cli.app, ["runs", "rerun", "last", "--runs-dir", str(runs)])
    assert result.exit_code == 5
    assert "bundle.tar" in result.stderr
