"""A released loadgen reads a history to which today's wrote newer kinds of events, folders and runs: nothing changes.

The code is that of the last commit before the first of these kinds. Its source is taken from git, so a clone without
its history skips the test.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict, SloCounts
from tests.support.accepted import KEY, history
from tests.support.newer_kinds import KINDS, add_newer_kinds

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RELEASED = "b507c3c2"
"""The commit before studies, the ledger, recommendations and pages."""
RUNS = history(11, {"checkout": 100.0}, sd=0.01)
PROGRAM = "import sys; sys.path[:0] = sys.argv[1:3]; from loadgen_controller.cli import main; main(sys.argv[3:])"
READER = """import sys; sys.path[:0] = sys.argv[1:3]
import loadgen.history.store.store as store
from loadgen.history.gate.aa_test_health import health_of
assert store.__file__.startswith(sys.argv[1]), store.__file__
found = store.Store.open(sys.argv[3])
print(found.unreadable, health_of(found.events()), found.struck(), sorted({one.kind for one in found.events()}))
print([run.run_id for key in found.keys() for run in found.runs(key)], found.unreadable)
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the released loadgen."""
    asked = ["git", "archive", RELEASED, "loadgen", "controller", "pyproject.toml"]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"the history of git does not have {RELEASED}")
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as file:
        file.extractall(folder, filter="data")
    assert not (folder / "loadgen/programme").exists()
    return folder


def ran(released: Path, code: str, *args: str, cwd: Path) -> str:
    paths = [str(released), str(released / "controller")]
    command = [sys.executable, "-c", code, *paths, *args]
    environment = {**os.environ, "COLUMNS": "160", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder with a history of known kinds only, but with runs as today's loadgen writes them."""
    store = Store.open(str(tmp_path / "plain/history"))
    objectives = (ObjectiveVerdict("p(99) < 300ms", "passed", "checkout"),)
    samples = (SloCounts("checkout-fast", "checkout", "maria", 0.995, 300.0, 12_000, 9, "kept", 0.998, 0.9996),)
    for run in RUNS[:10]:
        store.add(replace(run, objectives=objectives, slos=samples))
    store.pin([run.run_id for run in RUNS[:3]], "1.4")
    store.strike(RUNS[5].run_id, "a restore")
    for kind in ("verdict", "control"):
        store.note(Event(kind, "", "ci", (RUNS[9].run_id,), details={"key": KEY.hash(), "outcome": "PASS"}))
    return tmp_path / "plain"


@pytest.mark.parametrize("args", [(), ("--json",), ("runs",), ("runs", "--json")])
def test_the_released_history_command_shows_the_same(released: Path, plain: Path, args: tuple[str, ...]) -> None:
    before = ran(released, PROGRAM, "history", *args, cwd=plain)
    richer = plain.parent / "richer"
    shutil.copytree(plain, richer)
    add_newer_kinds(richer / "history", tuple(run.run_id for run in RUNS))

    after = ran(released, PROGRAM, "history", *args, cwd=richer)

    assert "20261101" in before
    assert after == before


def test_the_released_store_reads_every_event_and_leaves_out_no_file(released: Path, plain: Path) -> None:
    before = ran(released, READER, "history", cwd=plain).splitlines()
    add_newer_kinds(plain / "history", tuple(run.run_id for run in RUNS))

    after = ran(released, READER, "history", cwd=plain).splitlines()

    assert after[1] == before[1]
    assert all(repr(kind) in after[0] for kind in KINDS)
    assert after[0].split("[")[0] == before[0].split("[")[0]  # health and struck runs
