"""Completion of command lines: what stands at the cursor, which names a folder offers, and what shells receive."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen_controller.cli import COMMANDS, command
from loadgen_controller.completion.answer import answer
from loadgen_controller.completion.command_table import FILE, command_table
from loadgen_controller.completion.line_parsing import split_line, wanted
from loadgen_controller.completion.names_in_folder import loads_of_scenario, plans
from loadgen_controller.completion.shell_scripts import Shell, script
from tests.cli.test_commands import loadgen
from tools.command_table import table_text

TWO_PLANS = """
import os
from loadgen import Load, Plan, arrivals, journey
import loadgen as lg

open("was-run", "w")  # completion parses a scenario and never runs it

smoke = Plan(target="http://h", load=arrivals("1/s").hold("1s"), mix=browse)
peak: Plan = lg.Plan(target="http://h", loads=[Load(browse, x), Load(buy, y, name="spike"), Load(buy, y, name="sale")])
other = journey
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(TWO_PLANS)
    (tmp_path / "data.csv").touch()
    (tmp_path / "loadgen.toml").write_text('[env.staging]\ntarget = "http://h"\n')
    for run, lanes in (("20261124-170310-shop-a1b0", ["browse", "spike"]), ("20261125-170310-shop-a1b1", ["sale"])):
        (tmp_path / "runs" / run).mkdir(parents=True)
        manifest = {"spec": {"lanes": [{"name": name} for name in lanes]}}
        (tmp_path / "runs" / run / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def completed(line: str, shell: str = "zsh") -> list[str]:
    lines = answer({"_LOADGEN_COMPLETE": shell, "_LOADGEN_LINE": line}).splitlines()
    return [each.partition("\t")[0] for each in lines]


def test_the_table_has_the_commands_and_options_as_they_are() -> None:
    assert FILE.read_text(encoding="utf-8") == table_text(), "run: python -m tools.command_table"


def test_the_list_of_commands_shows_their_own_first_paragraph() -> None:
    for name in COMMANDS:
        assert command_table()[name].help == " ".join(command(name).help.split("\n\n")[0].split())


def test_a_typo_gets_the_similar_names() -> None:
    done = loadgen("complition")
    assert (done.exit_code, "no such command 'complition'. Did you mean 'completion'?" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loadgen", ["loadgen"]),
        ("loadgen ", ["loadgen", ""]),
        ("loadgen run 'my shop.p", ["loadgen", "run", "my shop.p"]),
        (r"loadgen run my\ sh", ["loadgen", "run", "my sh"]),
        (r"loadgen run my\ ", ["loadgen", "run", "my "]),
        ("loadgen run \"it's", ["loadgen", "run", "it's"]),
    ],
)
def test_a_line_is_split_at_the_cursor_even_inside_a_quote(line: str, words: list[str]) -> None:
    assert split_line(line) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loadgen ru", ["run", "runs"]),
        ("loadgen --v", ["--version"]),
        ("loadgen runs sh", ["show", "share"]),
        ("loadgen run --on-lost-agent a", ["abort"]),
        ("loadgen report last --format=m", ["--format=markdown"]),
        ("loadgen run s", ["shop.py"]),
        ("loadgen run d", []),
        ("loadgen run shop.py", ["shop.py", "shop.py:smoke", "shop.py:peak"]),
        ("loadgen run shop.py:p", ["shop.py:peak"]),
        ("loadgen run shop.py --env ", ["staging"]),
        ("loadgen run shop.py --keys r", ["runs/"]),
        ("loadgen runs show ", ["last", "20261125-170310-shop-a1b1", "20261124-170310-shop-a1b0"]),
        ("loadgen report 20261124", ["20261124-170310-shop-a1b0"]),
        ("loadgen runs show --runs-dir empty ", []),
        ("loadgen pause --load ", ["sale"]),
        ("loadgen pause 20261124 --load ", ["browse", "spike"]),
        ("loadgen runs show last ", []),
        ("loadgen no-such-command ", []),
        ("loadgen gate shop.py:", ["shop.py:smoke", "shop.py:peak"]),
    ],
)
def test_the_words_that_fit_at_the_cursor_are_proposed(folder: Path, line: str, words: list[str]) -> None:
    found = completed(line)
    assert found == words or (words and found[: len(words)] == words)
    assert not (folder / "was-run").exists()


def test_the_loads_of_a_scenario_are_those_of_the_plan(folder: Path) -> None:
    assert list(loads_of_scenario(Path("shop.py"), "peak")) == ["spike", "sale"]
    assert list(loads_of_scenario(Path("shop.py"), "smoke")) == []


@pytest.mark.parametrize("text", ["def", "\0", "x = " + "(" * 5000, "plan = Plan("])
def test_a_scenario_that_does_not_parse_has_no_plans(folder: Path, text: str) -> None:
    (folder / "broken.py").write_text(text)
    assert list(plans(Path("broken.py"))) == []


@pytest.mark.parametrize("text", ["", "[]", '{"spec": []}', '{"spec": {"lanes": [1]}}', "\xff"])
def test_a_damaged_manifest_has_no_loads(folder: Path, text: str) -> None:
    (folder / "runs/20261125-170310-shop-a1b1/manifest.json").write_text(text)
    assert completed("loadgen pause --load ") == []


def test_names_of_files_cannot_run_commands_or_imitate_candidates(folder: Path) -> None:
    for name in ("$(touch pwned).py", "a b.py", "x\n;y.py"):
        (folder / name).touch()
    assert completed("loadgen run ", "bash")[:2] == [r"\$\(touch\ pwned\).py", r"a\ b.py"]
    assert completed("loadgen run ", "powershell")[0] == "'$(touch pwned).py'"
    assert not any("\n" in word or word == "y.py" for word in completed("loadgen run "))


def test_bash_replaces_only_what_follows_a_colon(folder: Path) -> None:
    assert completed("loadgen run shop.py:", "bash") == ["smoke", "peak"]
    assert completed("loadgen report last --format=h", "bash") == ["html"]


def test_options_have_their_help() -> None:
    at = wanted(["run", "--onl"], command_table())
    assert at.words["--on-lost-agent"]


@pytest.mark.parametrize("shell", Shell)
def test_each_shell_has_a_script(shell: Shell) -> None:
    done = loadgen("completion", shell.value)
    assert (done.exit_code, done.stdout) == (0, script(shell))
    assert f"_LOADGEN_COMPLETE={shell}" in script(shell).replace(' = "', "=").replace('"', "")


def test_an_unknown_shell_is_a_usage_error() -> None:
    assert loadgen("completion", "tcsh").exit_code == 2


def test_bash_takes_the_answers(folder: Path) -> None:
    if (bash := shutil.which("bash")) is None:
        pytest.skip("bash is not installed")
    program = folder / "loadgen"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m loadgen_controller "$@"\n')
    program.chmod(0o755)
    line = "./loadgen run shop.py:p"
    asked = f'{script(Shell.BASH)}\nCOMP_LINE="{line}" COMP_POINT={len(line)}\n_loadgen ./loadgen\necho "$COMPREPLY"'
    done = subprocess.run([bash, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "peak\n"
