"""`loadgen plan` warns of a Python without PGO, on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen.engine.health.interpreter import InterpreterBuild
from loadgen_controller.commands import plan
from tests.cli.test_commands import loadgen

SLOW = InterpreterBuild("CPython", "3.11.7", has_pgo=False, has_lto=False)
FAST = InterpreterBuild("CPython", "3.13.5", has_pgo=True, has_lto=True)
UNKNOWN = InterpreterBuild("CPython", "3.13.5", has_pgo=None, has_lto=None)
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def visit(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:9", load=arrivals("5/s").hold("10s"), mix={visit: 1.0})
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "visit.py"
    path.write_text(SCENARIO)
    return str(path)


@pytest.mark.parametrize("as_json", [False, True])
def test_plan_warns_of_a_python_without_pgo_in_one_line_on_stderr(
    scenario: str, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "this_build", lambda: SLOW)
    done = loadgen("plan", scenario, "--no-trial", *(["--json"] if as_json else []))
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "CPython 3.11.7 without PGO and LTO" in warning
    assert "docs/install.md" in warning
    assert "PGO" not in done.stdout
    if as_json:
        json.loads(done.stdout)


@pytest.mark.parametrize("build", [FAST, UNKNOWN], ids=str)
def test_plan_does_not_warn_of_other_pythons(
    scenario: str, build: InterpreterBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "this_build", lambda: build)
    assert "PGO" not in loadgen("plan", scenario, "--no-trial").stderr
