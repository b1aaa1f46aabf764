"""A secret is resolved at the agent and stays there: a canary that no file, line or message of a run may hold."""

from __future__ import annotations

from pathlib import Path

from loadgen.measure.run_folder.rundir import RunDir, find_run
from loadgen.wire.codec import decode
from tests.support.run import loadgen
from tests.support.scenarios import write
from tests.support.target import RunningTarget, running_target

CANARY = "canary-9f2c77e1-do-not-tell"

SCENARIO = '''
"""Tells its secret wherever it can."""

import logging
import sys

from loadgen import Plan, User, iterations, journey, secret

KEY = secret("api-key")


@journey
async def leak(user: User) -> None:
    value = KEY.reveal()
    print("printed", value)
    print("half", value[:9], end="")
    print(value[9:], file=sys.stderr)
    logging.getLogger("scenario").warning("logged %s", value)
    user.http.headers["X-Api-Key"] = value
    user.http.headers["X-Plain"] = f"it is {value}"
    await user.http.get("/", params={"q": value}, name="with a query")
    reply = await user.http.post("/login", json={"note": value, "email": value})
    if user.random.random() < 0.3:
        user.fail(f"failed with {value}")
    if user.random.random() < 0.3:
        raise RuntimeError(f"raised with {value}")
    reply.expect(text=value)


async def prepare(user: User) -> None:
    if {fails}:
        raise RuntimeError(f"set-up failed with {KEY.reveal()}")


plan = Plan(target="http://127.0.0.1:1", load=iterations(40, users=2), mix=leak, set_up=prepare)
'''


def files_with(folder: Path, text: str) -> list[str]:
    """Files that hold the text, as they are or as messages unpacked."""
    found = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]
    for run in folder.glob("*/deltas.log"):
        found += ["a delta" for record in RunDir.open(run.parent).records() if text in repr(decode(record))]
    return found


def run_leak(tmp_path: Path, shop: RunningTarget, *, fails: bool, secret: str | None = CANARY) -> tuple[int, str]:
    path = write(tmp_path / "scenario", SCENARIO.replace("{fails}", str(fails)))
    env = {"LOADGEN_DEBUG": "1"} | ({} if secret is None else {"LOADGEN_SECRET_API_KEY": secret})
    done = loadgen("run", str(path), "--target", shop.url, runs_dir=tmp_path / "runs", env=env)
    return done.exit_code, done.out + done.err


def test_no_artefact_of_a_run_holds_the_secret(tmp_path: Path) -> None:
    with running_target("--no-latency") as shop:
        code, said = run_leak(tmp_path, shop, fails=False)
        name = find_run("last", tmp_path / "runs").name
        shown = loadgen("failures", name, "1", "--runs-dir", str(tmp_path / "runs"), runs_dir=tmp_path / "runs")
    assert code in (1, 2)
    assert CANARY not in said + shown.out + shown.err
    assert files_with(tmp_path / "runs", CANARY) == []
    folder = tmp_path / "runs" / name
    log = "".join(p.read_text() for p in (folder / "agents").glob("*.log"))
    assert "printed ****" in log
    assert "logged ****" in log
    assert list((folder / "failures").glob("*.json"))
    assert "Received" in shown.out


def test_a_set_up_that_fails_tells_no_secret(tmp_path: Path) -> None:
    with running_target("--no-latency") as shop:
        code, said = run_leak(tmp_path, shop, fails=True)
    assert code == 2
    assert "set-up failed with ****" in said
    assert files_with(tmp_path / "runs", CANARY) == []


def test_a_missing_secret_is_said_before_anything_starts(tmp_path: Path) -> None:
    with running_target("--no-latency") as shop:
        code, said = run_leak(tmp_path, shop, fails=False, secret=None)
        assert shop.stats()["requests"] == 0
    assert code == 2
    assert "scenario.py:9" in said
    assert "LOADGEN_SECRET_API_KEY" in said
    assert not (tmp_path / "runs").exists()
