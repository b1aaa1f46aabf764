"""`loadgen capacity find` without processes: its options, the order of its runs, and what is left when one fails."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen import open_study
from loadgen.capacity.find.finished_runs import SearchRun
from loadgen.capacity.sizing.capacity_source import capacity_of
from loadgen.dsl.loading.loader import Scenario
from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen_controller import cli
from loadgen_controller.commands.capacity_parts import find_runs
from loadgen_controller.commands.user_command import UserCommand
from loadgen_controller.launch import run_maker
from loadgen_controller.launch.launcher import Made
from tests.support.made_searches import held_run, search_run

SHOP = '''"""A shop."""
from loadgen import Load, Plan, User, arrivals, error_ratio, journey, p, search, users


@journey
async def front(user: User) -> None:
    await user.http.get("/")


URL = "http://127.0.0.1:9"
GUARD = error_ratio(window="30s", abort=True) < "50%"
peak = Plan(URL, arrivals("50/s").hold("1m"), front, slos=[p(99) < "1s", GUARD], warmup="5s")
people = Plan(URL, users(5).hold("1m"), front)
two = Plan(URL, loads=[Load(front, arrivals("9/s").hold("1m"), name="a"), Load(front, users(2).hold("1m"), name="b")])
own = Plan(URL, search(p(95) < "200ms", start="20/s", upto="160/s", duration="20m", tolerance="10%"), front)
'''
OF = ("--of", "p(99)<300ms")


class Series:
    """Runs that are made up: each is an entry of `ends`, a search or an exception."""

    def __init__(self, ends: list[SearchRun | BaseException], held: bool | None = True) -> None:
        self.ends, self.held, self.specs, self.log = list(ends), held, list[Any](), list[str]()
        self.restart = ""

    def make_run(self, scenario: Scenario, *_: object, **__: object) -> Made:
        self.specs.append(scenario.plan.spec())
        self.log.append("run")
        if self.specs[-1].load.startswith("search"):
            end = self.ends.pop(0)
            if isinstance(end, BaseException):
                raise end
            self.last = end
        return Made(Path(f"runs/{len(self.specs)}"), "passed")

    def restarted(self, log: Path) -> str:
        self.log.append("restart")
        return self.restart

    def read_search(self, _: object) -> SearchRun:
        folder = f"runs/{len(self.specs)}"
        return replace(self.last, run_id=folder, folder=folder)


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Series]:
    monkeypatch.chdir(tmp_path)
    Path("shop.py").write_text(SHOP)

    def made(ends: list[SearchRun | BaseException], held: bool | None = True) -> Series:
        one = Series(ends, held)
        monkeypatch.setattr(run_maker, "make_run", one.make_run)
        monkeypatch.setattr(find_runs, "open_run", lambda folder: folder)
        monkeypatch.setattr(find_runs, "read_search", one.read_search)
        monkeypatch.setattr(find_runs, "read_held", lambda _, rate, __: held_run(held, rate_per_s=rate))
        monkeypatch.setattr(UserCommand, "run", one.restarted)
        monkeypatch.setattr("time.sleep", lambda seconds: one.log.append(f"wait {seconds:g}"))
        return one

    return made


def find(*args: str) -> Result:
    env = {"COLUMNS": "200", "LOADGEN_STORE": ""}
    return CliRunner().invoke(cli.app, ["capacity", "find", *args], env=env)


def errors_of(result: Result) -> str:
    """The errors on one line, as the command prints them."""
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_three_searches_and_a_confirmation_make_a_record(series: Callable[..., Series]) -> None:
    one = series([search_run(78.0), search_run(80.0), search_run(82.0)])
    result = find(
        "shop.py:peak", *OF, "--between", "20/s", "400/s", "--restart", "sh restart.sh", "--label", "release=1.4",
        "--instances", "4", "--instance-type", "m6i.large", "--target-region", "eu-west-1", "--autoscaler", "held",
        "--store", "history", "--json", "out.json", "--html", "out.html", "--csv", "out.csv",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert "Plan with 7" in result.output
    assert "3 new searches" in result.output
    assert one.log == ["run", *["restart", "wait 30", "run"] * 3]
    assert [spec.load.split(":")[0] for spec in one.specs] == ["search p(99) < 300ms"] * 3 + ["arrivals"]
    facts = open_study("out.json").facts
    assert one.specs[3].peak == pytest.approx(facts["low_per_s"])
    assert one.specs[3].duration_ns == 600 * 10**9
    assert [slo.text for slo in one.specs[0].slos] == ['error_ratio(window="30s", abort=True) < 50%']
    assert [slo.text for slo in one.specs[3].slos][1:] == ["p(99) < 300ms"]
    assert facts["rate_per_s"] == pytest.approx(80, rel=0.001)
    assert facts["low_per_s"] < 80 < facts["high_per_s"]
    assert (facts["level"], facts["repeats"], facts["is_extrapolated"]) == (0.9, 3, False)
    assert (facts["release"], facts["region"], facts["instance_type"]) == ("1.4", "eu-west-1", "m6i.large")
    assert (facts["instances"], facts["autoscaler"], facts["is_confirmed"]) == (4, "held", True)
    assert facts["is_enough_for_a_purchase"]
    one_instance = capacity_of("capacity find", "decided", facts, "C-1")
    assert one_instance.range.low == pytest.approx(facts["low_per_s"] / 4)
    assert "5.00 s of warm-up" in facts["warm_state"]
    (record,) = Store.open("history").studies()
    assert record.id == "C-1"
    assert "<svg" in Path("out.html").read_text()
    assert Path("out.csv").read_text().startswith("of,search,run_id,rate_per_s")


def test_the_plans_own_search_needs_no_options(series: Callable[..., Series]) -> None:
    one = series([search_run(80.0)])
    result = find("shop.py:own", "--repeat", "1", "--confirm", "0")

    assert result.exit_code == 0, result.output
    assert one.specs[0].load == "search p(95) < 200ms: 20.0/s to 160/s, at most 20m"
    assert "One search is one condition" in result.output


def test_a_plan_with_arrivals_is_searched_up_to_four_times_its_highest_rate(series: Callable[..., Series]) -> None:
    one = series([search_run(80.0)])
    find("shop.py:peak", *OF, "--repeat", "1", "--confirm", "0", "--duration", "30m")

    assert one.specs[0].load == "search p(99) < 300ms: 3.12/s to 200/s, at most 30m"


def test_one_load_of_several_is_searched(series: Callable[..., Series]) -> None:
    one = series([search_run(80.0)])
    find("shop.py:two", *OF, "--load", "b", "--between", "5/s", "50/s", "--repeat", "1", "--confirm", "0")

    assert [lane.name for lane in one.specs[0].lanes] == ["b"]
    assert one.specs[0].lanes[0].load.startswith("search")


def test_all_errors_are_reported_before_anything_runs(series: Callable[..., Series]) -> None:
    one = series([])
    result = find(
        "shop.py:nope", "--of", "p(99)<300", "--of", "mean()<1s", "--between", "400/s", "50/s", "--cool-down", "soon",
        "--confirm", "2d", "--tolerance", "90%", "--restart", " ", "--html", "-", "--duration", "0s",
    )  # fmt: skip

    text = errors_of(result)
    for part in (
        'no plan named "nope"',
        'invalid duration "300"',
        'a load cannot follow "mean"',
        "--between 400/s 50.0/s: the first rate must be below the second",
        '--cool-down: invalid duration "soon"',
        "--confirm: 2d is out of range",
        "--tolerance: 90% is out of range",
        "--restart: the command is empty",
        "--html cannot write to stdout",
        "--duration: 0s is out of range",
    ):
        assert part in text
    assert not one.specs


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["shop.py:people", *OF], "--between: the load of the plan has users"),
        (["shop.py:peak"], "--of: no objective is given"),
        (["shop.py:two", *OF], "--load: the plan has 2 loads (a, b)"),
        (["shop.py:peak", *OF, "--confirm", "4s"], "--confirm 4s is not longer than the plan's warm-up of 5.00 s"),
        (["shop.py:peak", "--of", 'p(99, request="GET /x")<1s'], 'no request "GET /x"'),
        (["shop.py:peak", *OF, "--from", "nope"], "no run nope in runs"),
    ],
)
def test_what_cannot_be_searched_is_an_error(series: Callable[..., Series], args: list[str], message: str) -> None:
    one = series([])

    assert message in errors_of(find(*args))
    assert not one.specs


def test_a_machine_without_scipy_says_so_before_anything_runs(
    series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = series([])
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy" or "capacity.find" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "loadgen.analysis.knees.combine_knees")
    monkeypatch.setitem(sys.modules, "scipy", None)

    assert "loadgen capacity find needs scipy, which is not installed" in errors_of(find("shop.py:peak", *OF))
    assert not one.specs


def test_a_search_without_a_rate_ends_the_series(series: Callable[..., Series]) -> None:
    why = "not decided: the knee of p(99) < 300ms is somewhere in 60/s to 90/s"
    one = series([search_run(80.0), search_run(None, end="not decided", why=why), search_run()])
    result = find("shop.py:peak", *OF)

    assert result.exit_code == 3
    assert one.log == ["run", "wait 30", "run"]
    assert "Not decided: search 2 of 3: the knee of p(99) < 300ms is somewhere in 60/s to 90/s" in " ".join(
        result.output.split()
    )
    assert "loadgen capacity find shop.py:peak --of 'p(99)<300ms' --from runs/1" in result.output


@pytest.mark.parametrize(
    ("end", "code"), [("generator was the limit", 4), ("never met", 1), ("not reached", 3), ("incomplete", 3)]
)
def test_the_exit_code_is_that_of_the_end(series: Callable[..., Series], end: str, code: int) -> None:
    series([search_run(None, end=end, why="so it is")])  # type: ignore[arg-type]
    result = find("shop.py:peak", *OF, "--json", "out.json")

    assert result.exit_code == code
    assert json.loads(Path("out.json").read_text())["facts"]["low_per_s"] is None


def test_a_failed_restart_stops_the_series_and_loses_nothing(series: Callable[..., Series]) -> None:
    one = series([search_run(80.0)])
    one.restart = "exit code 7\n  no such container"
    result = find("shop.py:peak", *OF, "--restart", "sh -c 'exit 7'")

    assert result.exit_code == 3
    assert one.log == ["run", "restart"]
    assert "Not decided: 1 of 3 searches are complete" in result.output
    assert "The restart command failed: exit code 7 no such container." in result.output
    assert "--from runs/1" in result.output


def test_ctrl_c_keeps_the_whole_searches(series: Callable[..., Series]) -> None:
    series([search_run(80.0), KeyboardInterrupt()])
    result = find("shop.py:peak", *OF)

    assert result.exit_code == 130
    assert "1 of 3 searches are complete" in result.output
    assert "--from runs/1" in result.output


def test_an_error_of_a_run_names_the_searches_that_are_there(series: Callable[..., Series]) -> None:
    series([search_run(80.0), UsageError("the fleet is gone")])
    result = find("shop.py:peak", *OF)

    assert "the fleet is gone" in errors_of(result)
    assert "1 search can be used again" in result.output


def test_a_text_from_outside_controls_no_terminal(series: Callable[..., Series]) -> None:
    evil = "\x1b[2J::error::\n## broken"
    one = series([search_run(80.0, why=evil, target=evil, labels={"release": evil})] * 2)
    one.restart = evil
    result = find(
        "shop.py:peak",
        *OF,
        "--restart",
        f"echo {shlex.quote(evil)}",
        "--label",
        f"release={evil}",
        "--instance-type",
        evil,
    )

    assert result.exit_code == 3
    assert "\x1b" not in result.output
    assert "::error::" not in result.output
    assert not any(line.startswith("##") for line in result.output.splitlines())


def test_a_confirmation_that_fails_leaves_no_number(series: Callable[..., Series]) -> None:
    series([search_run(80.0)] * 3, held=False)
    result = find("shop.py:peak", *OF, "--json", "out.json")

    assert result.exit_code == 3
    assert "Not confirmed: p(99) < 300ms did not hold" in result.output
    assert json.loads(Path("out.json").read_text())["facts"]["rate_per_s"] is None


def test_finished_searches_count_as_repeats(series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen.capacity.find import finished_runs
    from loadgen_controller.commands.capacity_parts import find as command

    one = series([search_run(82.0)])
    given = {
        name: search_run(rate, run_id=name, target="http://127.0.0.1:9", labels={})
        for name, rate in (("one", 78.0), ("two", 80.0))
    }
    monkeypatch.setattr(command, "open_run", lambda name, _: name)
    monkeypatch.setattr(finished_runs, "read_search", given.__getitem__)
    result = find("shop.py:peak", *OF, "--from", "one", "--from", "two", "--confirm", "0")

    assert result.exit_code == 0, result.output
    assert "1 new search, and 2 of --from" in result.output
    assert one.log == ["run"]
    assert "3 searches" in result.output


def test_searches_for_something_else_are_not_combined(
    series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    from loadgen.capacity.find import finished_runs
    from loadgen_controller.commands.capacity_parts import find as command

    series([])
    other = search_run(80.0, run_id="old", objectives=("p(95) < 300ms",), labels={"release": "1.3"})
    monkeypatch.setattr(command, "open_run", lambda name, _: name)
    monkeypatch.setattr(finished_runs, "read_search", lambda _: other)
    text = errors_of(find("shop.py:peak", *OF, "--from", "old"))

    assert 'its objective is "p(95) < 300ms", and not "p(99) < 300ms"' in text
    assert 'its target is "http://shop.test", and not "http://127.0.0.1:9"' in text
    assert 'its release is "1.3", and not ""' in text
