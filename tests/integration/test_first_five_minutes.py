"""The README's first five minutes, replayed in a fresh environment from the wheel, with the seconds of each step.

`make slow ARGS="tests/integration/test_first_five_minutes.py -s"` prints the table of docs/install.md. The installation
links packages and downloads nothing, so its seconds are those of unpacking the wheel.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ci_runner import Runner
from tests.support.fresh_environment import FreshEnvironment, build
from tests.support.target import running_target

FIT = (0, 4)
"""A machine that is too busy to measure ends a run with 4, and has nothing to do with the steps of a newcomer."""
README = Path(__file__).parents[2] / "README.md"


class Steps:
    """The steps of a newcomer, with their seconds."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.rows.append((name, time.monotonic() - began))

    def table(self) -> str:
        lines = (f"| {name} | {seconds:.1f} |" for name, seconds in self.rows)
        return "\n".join(("| step | seconds |", "|---|---|", *lines))


@pytest.mark.slow
def test_a_newcomer_gets_from_the_wheel_to_a_gate(tmp_path: Path) -> None:
    steps, work = Steps(), tmp_path / "work"
    work.mkdir()
    wheel = build("wheel", tmp_path / "dist")
    with steps.timed("install the wheel (packages linked, nothing downloaded)"):
        fresh = FreshEnvironment(tmp_path / "venv", wheel, "analysis")

    def loadgen(step: str, *words: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        with steps.timed(f"`loadgen {step}`"):
            done = fresh.run(*words, cwd=work)
        assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    assert loadgen("--version", "--version").stdout.startswith("loadgen ")
    loadgen("new browse", "new", "browse")
    scenario = work / "browse.py"
    short = ("--duration", "5s", "--quiet")
    with running_target() as target:
        to = ("--target", target.url)
        loadgen("check browse.py", "check", "browse.py", *to)
        loadgen("run browse.py --duration 5s", "run", "browse.py", *to, *short, codes=FIT)
        loadgen("run URL --duration 5s", "run", target.url, "--rate", "5/s", *short, codes=FIT)

        scenario.write_text(re.sub(r"expect=200", "expect=201", scenario.read_text()))  # what breaks
        loadgen("run browse.py, broken", "run", "browse.py", *to, *short, codes=(1, 4))
        shown = loadgen("failures last", "failures", "last")
        assert "201" in shown.stdout
        loadgen("report last", "report", "last", "--output", "report.html")
        assert (work / "report.html").stat().st_size > 50_000

        scenario.write_text(re.sub(r"expect=201", "expect=200", scenario.read_text()))
        runner = Runner(work, scenario="browse.py", target=target.url, store=str(tmp_path / "history"))
        (work / "_temp/loadgen").unlink()
        runner.environ["PATH"] = f"{fresh.python.parent}:/usr/bin:/bin"
        del runner.environ["PYTHONPATH"]
        with steps.timed("the gate in CI, without a history"):
            gated = runner.step("test")
        assert gated.returncode in (3, 4), gated.stderr
        assert "no accepted runs" in (work / "loadgen-ci/comment.md").read_text() or gated.returncode == 4
    print(f"\n{steps.table()}")


def test_the_readme_names_the_commands_that_are_replayed() -> None:
    text = README.read_text(encoding="utf-8")
    for command in ("loadgen check", "loadgen run", "loadgen failures last", "loadgen report last"):
        assert command in text
