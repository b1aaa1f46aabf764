"""`loadgen sweep` with runs that are made up: what it says before, what it stores, how it ends and is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.analysis.factors import power
from loadgen.dsl.loading.loader import Scenario
from loadgen.errors import FleetError
from loadgen.history.store.store import Store
from loadgen.sweep import could_find
from loadgen.sweep.journal import read_journal
from loadgen.sweep.plan import read_plan
from loadgen.sweep.responses import Response, RunValues
from loadgen_controller import cli
from loadgen_controller.commands.sweep_parts import conduct_sweep, plan_sweep
from loadgen_controller.launch import run_maker
from loadgen_controller.launch.launcher import Made
from loadgen_controller.launch.run_location import Placement

SHOP = """
from loadgen import Plan, User, arrivals, journey, param

settle = param("settle", int, default=0)
payout = param("payout", int, default=0)
mode = param("mode", str, default="on")

@journey
async def browse(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:9", load=arrivals("10/s").hold("30s"), mix=browse)
"""
TWO = ("-P", "settle=0,8", "-P", "payout=0,8", "--seed", "1")


@dataclass
class FakeRuns:
    """Makes runs of a target whose response time is known, and the whole figures of which depend on the seed alone."""

    effect: Callable[[Mapping[str, Any]], float]
    made: list[dict[str, Any]] = field(default_factory=list)
    unfit: set[int] = field(default_factory=set)
    """Runs, counted from 1, that cannot be compared."""
    stop_at: int = 0
    fail_at: int = 0
    sd: float = 0.02

    def make_run(self, scenario: Scenario, placement: Placement, *_: object, **__: object) -> Made:
        spec = scenario.plan.spec()
        self.made.append({**spec.params, "seed": spec.seed, "peak": spec.peak})
        n = len(self.made)
        if n == self.fail_at:
            raise FleetError("no agent came", hint="start one")
        folder = placement.runs_dir / f"20261129-120000-shop-{n:04x}"
        folder.mkdir(parents=True)
        facts = json.dumps([spec.params, spec.seed], sort_keys=True)
        chance = np.random.default_rng(int(sha256(facts.encode()).hexdigest()[:8], 16))
        value = 100.0 * self.effect(spec.params) * float(np.exp(chance.normal(0, self.sd)))
        (folder / "value").write_text(f"{value} {n in self.unfit}")
        return Made(folder, "passed", was_stopped=n == self.stop_at)

    @staticmethod
    def values_of(folder: Path, responses: tuple[Response, ...]) -> RunValues:
        value, is_unfit = (folder / "value").read_text().split()
        known = {"p99": float(value), "error_ratio": 0.0, "throughput": 10.0}
        unfit = ("the generator was not fit to measure",) if is_unfit == "True" else ()
        values = {one.text: None if unfit else known[one.statistic] for one in responses}
        validity = "invalid" if unfit else "valid"
        return RunValues(folder.name, "2026-11-29T12:00:00Z", "passed", validity, values, {}, unfit)


_known_powers = cache(power.detectable)


def _detectable(*args: Any, effects: Iterable[float], **more: Any) -> power.PowerTable:
    """Its simulations take most of the time of these tests, and they have the same few designs."""
    return _known_powers(*args, effects=tuple(effects), **more)


def locks(params: Mapping[str, Any]) -> float:
    """Both pools together are slow; either alone is harmless."""
    return 3.0 if params["settle"] and params["payout"] else 1.0


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    made = FakeRuns(locks)
    monkeypatch.setattr(run_maker, "make_run", made.make_run)
    monkeypatch.setattr(conduct_sweep, "values_of", made.values_of)
    monkeypatch.setattr(plan_sweep, "detectable", _detectable)
    monkeypatch.setattr(could_find, "detectable", _detectable)
    return made


def sweep(*args: str | Path) -> Result:
    return CliRunner().invoke(
        cli.app, ["sweep", *map(str, args)], env={"COLUMNS": "200", "LOADGEN_STORE": ""}, catch_exceptions=False
    )


# -- before and after ---------------------------------------------------------------------------------


def test_sweep_says_what_it_takes_before_its_first_run_and_then_finds_the_interaction(runs: FakeRuns) -> None:
    made = sweep("shop.py", *TWO, "-o", "out")

    assert made.exit_code == 0, made.output
    before, _, after = made.stdout.partition("run 1 of 12")
    for text in (
        "12 runs: 4 cells × 3",
        "about 6m36s: 6m of load",
        "none: the agents are on this machine",
        "block 3:",
    ):
        assert text in before
    assert "runs of the same cell differ by 4 % (sd of log p99; assumed" in before
    assert "interactions: +10 % with" in before
    assert "run 12 of 12" in after
    assert "settle × payout" in after
    assert len(runs.made) == 12


def test_order_is_random_in_blocks_and_the_same_for_the_same_seed(runs: FakeRuns) -> None:
    sweep("shop.py", *TWO, "-o", "one")
    sweep("shop.py", *TWO, "-o", "two")

    assert runs.made[:12] == runs.made[12:]
    cells = [(one["settle"], one["payout"]) for one in runs.made]
    for block in (cells[:4], cells[4:8], cells[8:12]):
        assert sorted(block) == [(0, 0), (0, 8), (8, 0), (8, 8)]
    assert {one["seed"] for one in runs.made[:4]} == {2}, "one seed a repeat"


def test_plan_values_and_settings_reach_the_runs(runs: FakeRuns) -> None:
    values = ("--plan-value", "rate=5/s,20/s", "-P", "mode=on,off", "--set", "settle=7")
    made = sweep("shop.py", *values, "--repeat", "2", "--yes", "-o", "out")

    assert made.exit_code in (0, 3), made.output
    assert {(one["peak"], one["mode"], one["settle"]) for one in runs.made} == {
        (peak, mode, 7) for peak in (5, 20) for mode in ("on", "off")
    }


def test_result_is_written_into_the_folder_and_stored_once(runs: FakeRuns) -> None:
    made = sweep("shop.py", *TWO, "-o", "out", "--store", "history", "--json", "sweep.json")
    again = sweep("--resume", "out", "--store", "history")

    assert made.exit_code == again.exit_code == 0
    assert {"sweep.html", "result.json", "runs.csv", "sweep.json", "runs.jsonl"} <= {
        one.name for one in Path("out").iterdir()
    }
    assert json.loads(Path("sweep.json").read_text()) == json.loads(Path("out/result.json").read_text())
    assert [one.id for one in Store.open("history").studies("sweep")] == ["C-1"]
    assert len(runs.made) == 12, "a finished sweep makes no more runs"


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (("-P", "setle=0,8"), ['no param "setle"', 'did you mean "settle"?']),
        (("-P", "settle=0"), ["needs at least two levels", "--set settle=0"]),
        (("-P", "settle=0,8,8"), ["the level 8 is given twice"]),
        (("-P", "settle=8,08"), ["the levels 8 and 08 of settle are the same value"]),
        (("-P", "settle=0,x"), ["'x' is not a valid int"]),
        (("-P", "settle=0,1", "--repeat", "1000", "--plan-value", "rate=1/s,2/s,3/s"), ["6,000 runs are too many"]),
        (("-P", "settle=0,1", "--repeat", "1000", "--budget", "4h"), ["2,000 runs take about", "--budget 4h"]),
        (("-P", f"settle={','.join(map(str, range(1000)))}", "-P", f"payout={','.join(map(str, range(1000)))}"),
         ["1,000,000 cells"]),
        (("-P", "settle=0,8", "-P", "payout=0,8", "--skip", "settle=9,payout=8"), ["settle=9"]),
        (("-P", "settle=0,8", "--design", "grid", "--block", "hour"), ['"grid"', '"hour"']),
        (("-P", "settle=0,8", "--of", "p99,p101"), ['unknown response "p101"']),
        (("-P", "settle=0,8", "--of", "p99:brwse"), ['did you mean "browse"?']),
        (("-P", "settle=0,8", "--rate", "5/s", "--plan-value", "rate=1/s,2/s"), ["--rate cannot be used with"]),
        (("-P", "settle=0,8", "--between", "./nowhere.sh"), ["./nowhere.sh was not found"]),
        (("-P", "settle=0,8", "--early", "--repeat", "1"), ["--early needs at least 2 repeats"]),
        (("-P", "settle=0,8", "--resolution", "4", "--cells", "9"), ["--resolution is only", "--cells is only"]),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_runs(runs: FakeRuns, options: tuple[str, ...], texts: list[str]) -> None:
    made = sweep("shop.py", *options, "-o", "out")

    assert made.exit_code == 2, made.output
    for text in texts:
        assert text in made.output
    assert not runs.made
    assert not Path("out").exists()


def test_sweep_that_would_find_nothing_needs_yes(runs: FakeRuns) -> None:
    weak = sweep("shop.py", *TWO, "--repeat", "2", "--effect", "3%", "-o", "out")

    assert weak.exit_code == 2
    assert "an effect of +3 % would be found with probability" in weak.output
    assert "--yes runs it nevertheless" in weak.output
    assert not runs.made
    runs.stop_at = 1
    sweep("shop.py", *TWO, "--repeat", "2", "--effect", "3%", "-o", "out", "--yes")
    assert len(runs.made) == 1


def test_one_at_a_time_needs_yes_since_it_cannot_see_interactions(runs: FakeRuns) -> None:
    made = sweep("shop.py", *TWO, "--design", "one", "-o", "out")

    assert made.exit_code == 2
    assert "it cannot see interactions" in made.output


def test_folder_that_has_a_sweep_or_other_files_is_refused(runs: FakeRuns, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    runs.stop_at = 1
    sweep("shop.py", *TWO, "-o", "out")

    assert "loadgen sweep --resume out" in sweep("shop.py", *TWO, "-o", "out").output
    assert "full is not empty" in sweep("shop.py", *TWO, "-o", "full").output


# -- the command between, invalid runs, interruptions -----------------------------------------------------


@pytest.mark.process
def test_failed_command_between_stops_the_sweep_and_resume_goes_on(runs: FakeRuns, tmp_path: Path) -> None:
    script = tmp_path / "restart.sh"
    script.write_text("#!/bin/sh\necho settle=$LOADGEN_SWEEP_SETTLE\ntest -e fine || { echo port in use; exit 7; }\n")
    script.chmod(0o755)

    failed = sweep("shop.py", *TWO, "--between", "./restart.sh", "-o", "out")
    assert failed.exit_code == 3, failed.output
    assert "--between failed before run 1 of 12: exit code 7" in failed.output
    assert "port in use" in failed.output
    assert "loadgen sweep --resume out" in failed.output
    assert not runs.made

    (tmp_path / "fine").touch()
    assert sweep("--resume", "out").exit_code == 0
    assert len(runs.made) == 12
    levels = {one["settle"] for one in runs.made[:1]}
    assert Path("out/between/0001-1.log").read_text() == f"settle={levels.pop()}\n"


def test_run_that_cannot_be_compared_is_made_once_more_at_the_end(runs: FakeRuns) -> None:
    runs.unfit = {2, 5, 13}

    made = sweep("shop.py", *TWO, "-o", "out")

    assert made.exit_code == 0
    assert len(runs.made) == 14
    assert runs.made[12:] == [runs.made[1], runs.made[4]]
    assert "run 2 of 12, once more" in made.output
    assert [(one.number, one.attempt, one.is_fit) for one in read_journal(Path("out"))][-2:] == [
        (2, 2, False),
        (5, 2, True),
    ]


def test_sweep_without_a_valid_run_ends_with_4(runs: FakeRuns) -> None:
    runs.unfit = set(range(1, 99))

    assert sweep("shop.py", "-P", "settle=0,8", "--repeat", "2", "--yes", "-o", "out").exit_code == 4


def test_stopped_run_ends_the_sweep_and_does_not_count(runs: FakeRuns) -> None:
    runs.stop_at = 4

    stopped = sweep("shop.py", *TWO, "-o", "out")
    assert stopped.exit_code == 130
    assert "3 of 12 runs are stored in out; continue with: loadgen sweep --resume out" in stopped.output

    assert sweep("--resume", "out").exit_code == 0
    assert [one.number for one in read_journal(Path("out"))] == list(range(1, 13))
    assert (
        "note: not counted, because they were interrupted: 20261129-120000-shop-0004" in sweep("--resume", "out").output
    )


def test_run_that_cannot_be_made_ends_the_sweep_with_its_own_error(runs: FakeRuns) -> None:
    runs.fail_at = 3

    failed = sweep("shop.py", *TWO, "-o", "out")

    assert failed.exit_code == 5
    assert "no agent came" in failed.output
    assert "2 of 12 runs are stored in out; continue with: loadgen sweep --resume out" in failed.output
    assert sweep("--resume", "out").exit_code == 0


# -- early stops, texts ----------------------------------------------------------------------------------


def test_early_sweep_looks_once_and_stops_when_the_answer_is_clear(runs: FakeRuns) -> None:
    made = sweep("shop.py", *TWO, "--repeat", "4", "--early", "-o", "out")

    assert made.exit_code == 0, made.output
    assert "look after block 2: stop: found" in made.output
    assert "The sweep stopped early, by the rule that was fixed before its first run" in made.output
    assert len(runs.made) == 8
    assert sweep("--resume", "out").exit_code == 0
    assert len(runs.made) == 8, "the sweep has ended"


def test_hostile_levels_are_harmless_in_the_output(runs: FakeRuns) -> None:
    hostile = "o\x1b[2J\rPASSED (exit code 0)\n::error::x"

    made = sweep("shop.py", "-P", f"mode=on,{hostile}", "-P", "settle=0,8", "--repeat", "2", "--yes", "-o", "out")

    assert made.exit_code in (0, 3), made.output
    assert not set(made.output) & {"\x1b", "\r"}
    assert not [line for line in made.output.splitlines() if line.startswith(("PASSED", "::error"))]
    assert "\x1b" not in Path("out/sweep.html").read_text()


# -- resume -----------------------------------------------------------------------------------------------


def test_resumed_sweep_has_the_same_table_as_one_that_was_never_stopped(runs: FakeRuns) -> None:
    whole = sweep("shop.py", *TWO, "-o", "whole", "--json", "whole.json")
    # In the first block, in the same block again, and in the last one.
    runs.stop_at = len(runs.made) + 2
    sweep("shop.py", *TWO, "-o", "cut")
    for more in (2, 8):
        runs.stop_at = len(runs.made) + more
        sweep("--resume", "cut")
    runs.stop_at = 0
    assert sweep("--resume", "cut", "--json", "cut.json").exit_code == whole.exit_code == 0

    one, other = (json.loads(Path(name).read_text()) for name in ("whole.json", "cut.json"))
    assert one["headline"] == other["headline"]
    assert one["facts"]["responses"] == other["facts"]["responses"]


def test_resumed_sweep_writes_its_result_where_the_first_call_was_told_to(
    runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.stop_at = 2
    sweep("shop.py", *TWO, "-o", "out", "--store", "history", "--json", "result.json")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert sweep("--resume", "../out").exit_code == 0
    assert (tmp_path / "result.json").is_file()
    assert [one.id for one in Store.open(str(tmp_path / "history")).studies("sweep")] == ["C-1"]


def test_quiet_sweep_prints_only_its_result(runs: FakeRuns) -> None:
    made = sweep("shop.py", *TWO, "-o", "out", "--quiet")

    assert made.exit_code == 0
    assert "run 1 of 12" not in made.output
    assert "can find" not in made.output
    assert "settle × payout" in made.output


def test_resume_refuses_other_files_and_names_them(runs: FakeRuns, tmp_path: Path) -> None:
    runs.stop_at = 2
    sweep("shop.py", *TWO, "-o", "out")
    (tmp_path / "shop.py").write_text(SHOP.replace("30s", "31s"))

    refused = sweep("--resume", "out")

    assert refused.exit_code == 2
    assert "the files of the scenario are not those of the sweep's start: shop.py changed" in refused.output
    assert len(runs.made) == 2


def test_resume_refuses_other_options(runs: FakeRuns) -> None:
    runs.stop_at = 2
    sweep("shop.py", *TWO, "-o", "out")

    refused = sweep("shop.py:other", "--resume", "out", "--seed", "2", "--rate", "5/s", "-P", "settle=0,9")

    assert refused.exit_code == 2
    for text in ("--seed is 2, and the sweep has 1", "--rate is 5/s", "-P is settle=0,9", "not of other"):
        assert text in refused.output


def test_scenario_that_changes_during_the_sweep_stops_it(
    runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, original = runs.make_run, SHOP

    def make_run(scenario: Scenario, placement: Placement, *args: object, **more: object) -> Made:
        if len(runs.made) == 2:
            (tmp_path / "shop.py").write_text(original.replace("30s", "31s"))
        return fake(scenario, placement, *args, **more)

    monkeypatch.setattr(run_maker, "make_run", make_run)

    changed = sweep("shop.py", *TWO, "-o", "out")

    assert changed.exit_code == 2
    assert "shop.py changed since the sweep began" in changed.output
    assert len(runs.made) == 3


def test_sweep_by_day_makes_one_block_a_day(runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep("shop.py", *TWO, "--block", "day", "-o", "out")

    assert first.exit_code == 3
    assert "not decided yet: the block of this day is over" in first.output
    assert len(runs.made) == 4


def test_damaged_plan_is_refused_with_its_file(runs: FakeRuns) -> None:
    runs.stop_at = 2
    sweep("shop.py", *TWO, "-o", "out")
    path = Path("out/sweep.json")
    for damage in (b"", b"{", b"[]", path.read_bytes()[:-40], path.read_bytes().replace(b'"cell": 0', b'"cell": 9')):
        path.chmod(0o600)
        path.write_bytes(damage)
        refused = sweep("--resume", "out")
        assert refused.exit_code == 5
        assert "out/sweep.json is damaged" in refused.output


def test_plan_of_the_sweep_is_as_it_was_typed(runs: FakeRuns) -> None:
    sweep("shop.py", *TWO, "--skip", "settle=8,payout=8", "--yes", "-o", "out", "--rate", "20/s")

    plan = read_plan(Path("out"))

    assert plan.options["run"] == {"rate": "20/s"}
    assert plan.options["sweep"]["param"] == ["settle=0,8", "payout=0,8"]
    assert len(plan.design.cells) == 3
    assert plan.levels(0) == {"settle": "0", "payout": "0"}


def test_command_between_runs_needs_some_time(runs: FakeRuns) -> None:
    done = sweep("shop.py", *TWO, "--between", "true", "--between-timeout", "0s")
    assert done.exit_code == 2
    assert "--between-timeout: 0s is no time" in done.output
    assert not runs.made
