"""What a newcomer does, in the order of README and tutorial: new, check, run, runs, and a test of the journey."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.run import ends_with, loadgen
from tests.support.target import running_target

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_a_new_scenario_is_checked_run_and_shown_again(tmp_path: Path) -> None:
    browse, runs = tmp_path / "browse.py", tmp_path / "runs"
    assert loadgen("new", str(browse.with_suffix("")), runs_dir=runs).exit_code == 0
    with running_target() as target:
        check = loadgen("check", str(browse), "--target", target.url, runs_dir=runs)
        assert check.exit_code == 0, check.out + check.err
        assert "GET /" in check.out
        assert re.search(r"^request +connect +send +wait +receive$", check.out, re.MULTILINE), check.out
        run = loadgen("run", str(browse), "--target", target.url, "--duration", "4s", "--rate", "20/s", runs_dir=runs)
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert re.search(r"^0:0\d to 0:\d\d, ", run.out, re.MULTILINE)
    shown = loadgen("runs", "show", "last", "--runs-dir", str(runs), runs_dir=runs)
    assert f"{run.summary['iterations']['due']} due" in shown.out
    assert "Phases of requests, ms" in shown.out


def test_the_scenario_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "browse.py").write_text(blocks("README.md")[0])
    with running_target() as target:
        run = loadgen(
            "run", str(tmp_path / "browse.py"), "--target", target.url, "--duration", "4s", "--quiet", "--json", "-",
            runs_dir=tmp_path / "runs",
        )  # fmt: skip
    assert ends_with(run.exit_code, run.summary, 0), run.err
    summary = json.loads(run.out)
    assert summary == run.summary
    assert {agent["region"] for agent in summary["agents"]} == {"us-east-1", "eu-west-1"}


def test_the_tutorials_own_test_passes(tmp_path: Path) -> None:
    (tmp_path / "browse.py").write_text(blocks("README.md")[0])
    example = next(block for block in blocks("docs/tutorial-first-scenario.md") if "browse.trial" in block)
    (tmp_path / "test_browse.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
