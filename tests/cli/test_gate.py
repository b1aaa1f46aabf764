"""`loadgen gate` over runs that are there: its words, files and exit codes, and what it keeps in the store.

The runs are a golden folder under other names, all alike; the history is made of it, faster or slower.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller import cli
from loadgen_controller.commands.gating.execute_gate_runs import Interrupted, Maker
from tests.support.scenarios import browse_with

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
NEW = tuple(f"20261124-21082{n}-browse-000{n}" for n in range(3))
NAMES = {"browse", "browse > look", "browse > look > GET /products"}


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": "200", "LOADGEN_STORE": ""})


def gate(*args: str | Path) -> Result:
    """The golden run has 60 samples of a name: enough for the median."""
    return loadgen("gate", *args, "--percentile", "p50", "--store", "store")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs of the same code in runs/."""
    monkeypatch.chdir(tmp_path)
    for run_id in NEW:
        folder = shutil.copytree(OLD, Path("runs") / run_id)
        call(folder, run_id)
    return tmp_path


def call(folder: Path, run_id: str) -> None:
    for name in ("manifest.json", "summary.json"):
        edit(folder / name, lambda made: made.update(run_id=run_id))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    made = json.loads(path.read_text())
    change(made)
    path.write_text(json.dumps(made))


def fill(runs: int = 12, times: float = 1.0, first: int = 0, **more: Any) -> list[Accepted]:
    """Accept as many runs that took `times` as long as the golden one, give or take 1 %."""
    store, chance, made = Store.open("store"), np.random.default_rng(first), []
    golden = accepted_of(open_run(OLD))
    for n in range(first, first + runs):
        noise = float(np.exp(chance.normal(0, 0.01)))
        figures = tuple(replace(one, value_ms=one.value_ms * times * noise) for one in golden.figures)
        at = f"2026-11-{1 + n // 24:02}T{n % 24:02}:00:00Z"
        run_id = f"{at[:10].replace('-', '')}-{n % 24:02}0000-browse-{n:04x}"
        made.append(replace(golden, run_id=run_id, started_at=at, figures=figures, **more))
        store.add(made[-1])
    return made


# -- the four words ---------------------------------------------------------------------------------


def test_release_like_those_before_passes_and_says_what_it_would_have_found(here: Path) -> None:
    fill()
    result = gate(*NEW)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("PASS: none of 3 names is slower. Minimum detectable effect ")
    assert "p50 of 3 runs against 12 accepted runs" in result.stdout


def test_release_that_is_slower_fails_with_each_name_and_its_size(here: Path) -> None:
    fill(times=0.9)
    result = gate(*NEW)
    assert result.exit_code == 1
    assert result.stdout.startswith("FAIL: 3 names are slower")
    assert "p50 of browse > look is 1" in result.stdout


def test_single_run_is_suspect(here: Path) -> None:
    fill(times=0.9)
    result = gate(NEW[0])
    assert result.exit_code == 3
    assert "INCONCLUSIVE: suspect." in result.stdout
    assert "2 more runs would decide it: --confirm 2 makes them" in result.stdout


def test_run_that_was_not_fit_is_invalid(here: Path) -> None:
    fill()

    def invalid(made: Any) -> None:
        made["result"] = "invalid"
        made["validity"] = {"verdict": "invalid", "reasons": ["generator lag"]}

    edit(Path("runs") / NEW[1] / "summary.json", invalid)
    result = gate(*NEW)
    assert result.exit_code == 4
    assert result.stdout.startswith("INVALID: not every run is valid.")
    assert f"{NEW[1]}: the generator was not fit to measure" in result.stdout


def test_empty_store_says_how_to_begin(here: Path) -> None:
    result = gate("last")
    assert result.exit_code == 3
    assert "there are no accepted runs in store yet" in result.stdout
    assert "No effect could have been detected." in result.stdout


def test_changed_plan_is_told_with_the_nearest_key_and_what_differs(here: Path) -> None:
    golden = accepted_of(open_run(OLD))
    fill(key=replace(golden.key, rate="500/s"))
    result = gate("last")
    assert result.exit_code == 3
    assert "none of the 12 accepted runs in store can be compared with it" in result.stdout
    assert "rate: 20/s here, 500/s there" in result.stdout


def test_embedded_run_is_not_compared_with_those_of_a_fleet(here: Path) -> None:
    golden = accepted_of(open_run(OLD))
    fill(key=replace(golden.key, placement="fleet"))
    result = gate("last")
    assert result.exit_code == 3
    assert "placement: embedded here, fleet there" in result.stdout


def test_damaged_file_of_the_store_is_named(here: Path) -> None:
    runs = fill()
    next(Path("store").rglob(f"{runs[3].run_id}.parquet")).write_bytes(b"no")
    result = gate(*NEW)
    assert result.exit_code == 0
    assert f"warning: left out of the comparison: runs/key={runs[3].key.hash()}/{runs[3].run_id}" in result.stdout


# -- references -------------------------------------------------------------------------------------


def test_pinned_release_catches_what_crept_in(here: Path) -> None:
    release = fill(3, times=0.9, key=accepted_of(open_run(OLD)).key)
    Store.open("store").pin([run.run_id for run in release], "1.4")
    fill(20, times=1.0, first=3)
    result = gate(*NEW)
    assert result.exit_code == 1
    assert "slower than 1.4 (3 runs)" in result.stdout
    assert gate(*NEW, "--against", "1.5").exit_code == 2


# -- files ------------------------------------------------------------------------------------------


def test_junit_has_a_case_a_name_and_is_never_green_where_the_verdict_is_not(here: Path) -> None:
    fill(times=0.9)
    gate(*NEW, "--junit", "gate.xml")
    suite = ElementTree.parse("gate.xml").getroot()[0]
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases.keys() >= {"verdict", *NAMES, *(f"errors of {name}" for name in NAMES)}
    assert all(cases[name] == ["failure"] for name in ("verdict", *NAMES))
    assert suite.get("failures") == "4"
    gate(NEW[0], "--junit", "gate.xml")
    assert ElementTree.parse("gate.xml").getroot()[0].get("failures") == "1"  # inconclusive


def test_json_on_stdout_is_whole_and_the_report_is_on_stderr(here: Path) -> None:
    fill(times=0.9)
    result = gate(*NEW, "--json", "-")
    made = json.loads(result.stdout)
    assert (made["verdict"], made["exit_code"], made["runs"]) == ("FAIL", 1, list(NEW))
    assert {one["name"] for one in made["baselines"][0]["names"]} == NAMES
    assert 0 < made["detectable"] < 0.1
    assert result.stderr.startswith("FAIL")


def test_json_of_a_gate_without_a_history_has_null_and_not_nan(here: Path) -> None:
    result = gate("last", "--json", "-")
    assert json.loads(result.stdout, parse_constant=pytest.fail)["detectable"] is None


def test_markdown_is_for_a_pull_request(here: Path) -> None:
    fill()
    result = gate(*NEW, "--markdown", "-")
    assert result.stdout.startswith("### ✅ loadgen gate: PASS: none of 3 names is slower.")
    assert "| browse &gt; look &gt; GET /products |" in result.stdout


def test_explanation_has_each_name_with_its_figures_and_the_rule(here: Path) -> None:
    fill(times=0.9)
    text = " ".join(gate(*NEW, "--explain").stdout.split())
    assert "3 names were tested together (Holm)" in text
    assert all(f"{name}: +1" in text for name in NAMES)
    assert "The verdict is FAIL: one name that fails is enough" in text


# -- what is kept -----------------------------------------------------------------------------------


def test_each_verdict_is_kept_with_its_runs(here: Path) -> None:
    fill(times=0.9)
    gate(*NEW)
    event = Store.open("store").events("verdict")[-1]
    assert (event.run_ids, event.details["outcome"]) == (NEW, "FAIL")
    assert set(json.loads(event.details["names"])) == NAMES
    assert event.at


def test_in_a_ci_a_verdict_is_of_whoever_made_it_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    gate("last")
    assert Store.open("store").events("verdict")[-1].by == "ada"


def test_runs_that_pass_are_added_and_others_are_not(here: Path) -> None:
    key = fill()[0].key
    assert "3 of 3 runs accepted into store" in gate(*NEW, "--add").stdout
    assert len(Store.open("store").runs(key)) == 15
    assert "0 of 3 runs accepted" in gate(*NEW, "--add").stdout
    assert "the verdict is not PASS" in gate("last", "--add", "--tolerate", "0.5%").stdout
    assert len(Store.open("store").runs(key)) == 15


def test_release_accepted_though_slower_is_kept_with_the_reason_and_is_the_new_level(here: Path) -> None:
    key = fill(times=0.9)[0].key
    release = fill(3, first=12, key=key)
    Store.open("store").strike(release[0].run_id, "only here to be out of the way")
    result = gate("accept", *NEW, "--because", "the new tax rules")
    assert result.exit_code == 0, result.output
    assert "accepted 3 of 3 runs into store; verdict of the gate: FAIL" in result.stdout
    event = Store.open("store").events("new level")[0]
    assert (event.run_ids, event.because, event.details["outcome"]) == (NEW, "the new tax rules", "FAIL")
    assert event.by
    fill(10, first=24 * 23 + 22)  # after them
    again = f"{NEW[0][:15]}-again"
    folder = shutil.copytree(Path("runs") / NEW[0], Path("runs") / again)
    call(folder, again)
    result = gate(again)
    assert result.exit_code == 0, result.output
    assert f"compared with runs since {NEW[0]}" in " ".join(result.stdout.split())


def test_what_was_accepted_by_mistake_and_struck_begins_no_level(here: Path) -> None:
    fill(times=0.9)
    gate("accept", *NEW[:2], "--because", "not thought about")
    store = Store.open("store")
    for run_id in NEW[:2]:
        store.strike(run_id, "it was a mistake")
    result = gate(NEW[2])
    assert "INCONCLUSIVE: suspect." in result.stdout
    assert "p50 of 1 run against 12 accepted runs" in result.stdout


def test_run_that_was_not_measured_properly_is_not_accepted_whatever_the_reason(here: Path) -> None:
    edit(Path("runs") / NEW[0] / "summary.json", lambda made: made.update(result="incomplete"))
    result = gate("accept", NEW[0], "--because", "please")
    assert result.exit_code == 3
    assert "cannot be accepted: data are missing" in result.stderr
    assert not Path("store").exists()


# -- bad input --------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_the_command_line_is_said_at_once(here: Path) -> None:
    result = loadgen(
        "gate", "nothing", NEW[0], NEW[0], "--delta", "200%", "--alpha", "0", "--percentile", "p42", "--rate", "5/s",
        "--confirm", "2", "--because", "x", "--json", "-", "--markdown", "-", "--junit", "nowhere/gate.xml",
    )  # fmt: skip
    assert result.exit_code == 2
    for text in (
        "no run nothing in runs",
        "was named twice",
        '--delta: invalid ratio "200%": must be from 0 to 100 %',
        "invalid --alpha 0: must be above 0 % and below 100 %",
        'unknown statistic "p42"',
        "--rate, --confirm: only for runs that the gate makes itself",
        "--because needs accept",
        "both write to stdout",
        "there is no folder nowhere",
    ):
        assert text in result.stderr
    assert not Path("store").exists()


def test_accept_without_a_reason_or_a_run_is_refused(here: Path) -> None:
    result = loadgen("gate", "accept")
    assert result.exit_code == 2
    assert "accept needs at least one run" in result.stderr
    assert "accept needs a reason" in result.stderr


def test_runs_of_several_plans_are_not_judged_together(here: Path) -> None:
    edit(Path("runs") / NEW[1] / "manifest.json", lambda made: made["spec"].update(target="http://other.test:80"))
    result = gate(*NEW)
    assert result.exit_code == 2
    assert f"{NEW[0]} and {NEW[1]} cannot be judged together: target: " in result.stderr


def test_run_without_a_summary_is_not_judged(here: Path) -> None:
    (Path("runs") / NEW[0] / "summary.json").unlink()
    result = gate(NEW[0])
    assert result.exit_code == 3
    assert "has no summary" in result.stderr


def test_pairs_without_two_targets_are_refused(here: Path) -> None:
    result = gate(str(browse_with(here)), "--pairs", "5")
    assert result.exit_code == 2
    assert "--pairs and --seed need --ab" in result.stderr
    assert "--ab URL URL" in result.stderr


def test_scenario_beside_runs_is_refused(here: Path) -> None:
    assert (
        "shop.py: a scenario cannot be judged together with other arguments"
        in loadgen("gate", "shop.py", NEW[0]).stderr
    )


def test_faults_of_scenario_and_options_are_said_before_a_run_is_made(here: Path) -> None:
    Path("shop.py").write_text("from loadgen import Plan\nplan = Plan(target='http://127.0.0.1:1', mix={}, load=3)\n")
    result = loadgen("gate", "shop.py", "--rate", "fast", "--delta", "x", "--ab", "http://a:1", "http://b:1", "--add")
    assert result.exit_code == 2
    for text in ("--rate", "--delta", "--ab cannot be used with", "shop.py:2"):
        assert text in result.stderr
    assert len(list(Path("runs").iterdir())) == len(NEW)


def test_empty_history_is_said_before_a_run_is_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object, **__: object) -> Accepted:
        raise Interrupted

    monkeypatch.setattr(Maker, "make", make)
    path = browse_with(here)
    note = "note: store has no accepted runs yet, so these runs have nothing to be compared with"
    assert loadgen("gate", path, "--store", "store").output.startswith(note)

    fill(1)
    assert note not in loadgen("gate", path, "--store", "store").output


def test_list_of_what_may_be_loaded_decides_and_nothing_has_to_be_named_beside_it(here: Path) -> None:
    Path("shop.py").write_text(
        "from loadgen import Plan, User, arrivals, journey\n\n"
        "@journey\nasync def shop(user: User) -> None:\n    await user.http.get('/')\n\n"
        "plan = Plan(target='http://203.0.113.9', load=arrivals('1/s').hold('1s'), mix={shop: 1.0})\n"
    )
    Path("allow.toml").write_text('[[allow]]\nhost = "192.0.2.7"\nowner = "shop"\nexpires = 2099-01-01\n')
    result = loadgen("gate", "shop.py", "--allow", "allow.toml")
    assert result.exit_code == 2
    assert "203.0.113.9" in result.stderr
    assert "--i-may-load" not in result.stderr


# -- where runs are made ----------------------------------------------------------------------------


def test_runs_that_are_there_are_made_nowhere(here: Path) -> None:
    result = gate(NEW[0], "--controller", "127.0.0.1:1", "--scale", "3", "--i-may-load", "shop.example")
    assert result.exit_code == 2
    assert "--controller, --scale, --i-may-load: only for runs that the gate makes itself" in result.output


@pytest.mark.parametrize("command", [("gate",), ("history", "control"), ("run",)], ids=" ".join)
def test_what_does_not_go_with_a_controller_is_told_at_once(here: Path, command: tuple[str, ...]) -> None:
    """The same words from all commands that make runs, and nothing is asked of anybody."""
    path = browse_with(here)
    there = ("--controller", "127.0.0.1", "--allow", "allow.toml", "--workers", "2", "--scale", "3", "--wait", "3")
    result = loadgen(*command, path, *there, "--listen", "127.0.0.1:5700", "--keys", "keys")
    assert result.exit_code == 2
    for said in (
        "--controller: ",
        "--allow cannot be used with --controller: the controller has its own allow-list",
        "--workers is only for agents on this machine",
        "--scale needs --fleet",
        "--wait cannot be used with --scale",
        "--listen cannot be used with --controller: agents connect to the controller",
        "--keys cannot be used with --controller",
    ):
        assert said in result.output, said
    assert "is not there" not in result.output.replace("allow.toml", ""), "keys that nobody wants are not looked for"


def test_secrets_of_a_scenario_are_where_its_agents_are(here: Path) -> None:
    path = browse_with(here)
    path.write_text(f'from loadgen import secret\ntoken = secret("of-nobody")\n{path.read_text()}')
    assert "of-nobody" in gate(path).output
    away = gate(path, "--controller", "127.0.0.1:1")
    assert away.exit_code == 5
    assert "of-nobody" not in away.output
    assert "no controller answers at 127.0.0.1:1" in away.output
