"""`loadgen slo anomaly` as a user calls it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli

PROMISE = """apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout, annotations: {loadgen.dev/owner: payments@shop.example, loadgen.dev/source: prod}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.995}]
  indicator:
    metadata: {name: ratio}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: 'a'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'b'}}}
"""


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, ["slo", "anomaly", *args], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos" / "checkout.yaml").write_text(PROMISE)


def write_counts(hours: int = 360) -> None:
    first = int(datetime.now(UTC).timestamp()) // 3_600 * 3_600 - hours * 3_600
    total = np.random.default_rng(1).poisson(400, hours)
    total[hours // 3] *= 5
    rows = [Slice("checkout", first + 3_600 * n, 3_600, t, t, 0) for n, t in enumerate(total.tolist())]
    Ledger.open("history").write("prod", rows)


def test_a_new_find_fails_until_a_person_answers_it() -> None:
    write_counts()
    listed = loadgen("list", "--explain")
    document = json.loads(loadgen("list", "--format", "json").stdout)
    (find,) = document["finds"]

    assert listed.exit_code == ExitCode.FAILED
    assert f"{find['id']} new: checkout had " in listed.output
    assert "robust standard deviations; season of 24 h" in listed.output
    assert (find["owner"], find["state"], find["direction"]) == ("payments@shop.example", "new", "more")
    done = loadgen("accept", find["id"], "--because", "Black\x1b[2J Friday", "--until", "2999-12-01", "--by", "maria")
    assert done.exit_code == ExitCode.PASSED, done.output
    assert f"{find['id']} is accepted until 2999-12-01 00:00 UTC: checkout had " in done.output
    after = loadgen("list")
    assert after.exit_code == ExitCode.PASSED
    assert "accepted until 2999-12-01 by maria, because Black\\x1b[2J Friday" in after.output
    assert "0 new finds, 1 silenced (1 accepted); 1 promise searched" in after.output
    near = find["id"][:-1] + ("0" if find["id"][-1] != "0" else "1")
    wrong = loadgen("false", near, "--because", "x")
    assert wrong.exit_code == ExitCode.USAGE
    assert f'did you mean "{find["id"]}"?' in wrong.stderr
    explained = loadgen("explain", find["id"], "--because", "a sale", "--link", "https://wiki.example/1")
    assert explained.exit_code == ExitCode.PASSED
    assert "(1 explained)" in loadgen("list").output


def test_without_enough_counts_the_list_is_incomplete() -> None:
    empty = loadgen("list")
    write_counts(100)
    few = loadgen("list")
    assert (empty.exit_code, few.exit_code) == (ExitCode.INCOMPLETE, ExitCode.INCOMPLETE)
    assert "checkout: not searched: the ledger has no counts of it" in empty.output
    assert "checkout: not searched: 100 hours are too few: 336 are needed, which are 2 weeks" in few.output


def test_all_errors_of_an_answer_are_named_together() -> None:
    done = loadgen("accept", "A-1", "--until", "2020-01-01", "--from", "60w")
    assert done.exit_code == ExitCode.USAGE
    for part in ("needs a reason", "is in the past: 2020-01-01", '"A-1" is not an id', "60w is more than 26 weeks"):
        assert part in done.stderr
    link = loadgen("explain", "A-00000000", "--link", "ftp://x")
    assert "needs a reason" in link.stderr
    assert 'invalid link "ftp://x"' in link.stderr


def test_an_unknown_zone_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "programme.toml").write_text('[programme]\nzone = "Mars/Base"\n')
    done = loadgen("list", "--from", "tomorrow")
    assert done.exit_code == ExitCode.USAGE
    assert 'programme.toml:2: unknown time zone "Mars/Base"' in done.stderr
    assert '--from: invalid time "tomorrow"' in done.stderr


def test_a_find_of_an_old_list_is_answered_as_of_then_and_the_answer_is_recorded_now() -> None:
    write_counts()
    find = json.loads(loadgen("list", "--format", "json").stdout)["finds"][0]
    later = str(datetime.now(UTC).year + 3)
    reason = ("--because", "counted twice", "--by", "maria", "--format", "json")

    gone = loadgen("false", find["id"], *reason, "--as-of", f"{later}-01-01T00:00Z")
    done = loadgen("false", find["id"], *reason, "--as-of", datetime.now(UTC).isoformat())

    assert gone.exit_code == ExitCode.USAGE
    assert f"no find {find['id']} since " in gone.stderr
    answered = json.loads(done.stdout)
    assert (answered["id"], answered["state"], answered["by"], answered["is_flagged"]) == (
        find["id"],
        "false",
        "maria",
        True,
    )
    assert answered["at"][:4] == str(datetime.now(UTC).year)


def test_the_list_names_the_time_that_was_listed_and_the_counts_that_were_read() -> None:
    write_counts()
    listed = loadgen("list", "--from", "1w", "--explain").output
    (find,) = json.loads(loadgen("list", "--format", "json").stdout)["finds"]

    assert f", with the counts since {find['past']['from']}" in listed
    assert find["past"]["hours"] == 360
    assert loadgen("list", "--from", "1w").output.count("searched from ") == 1


def test_each_answer_shows_with_explain_how_the_find_was_computed() -> None:
    write_counts()
    (find,) = json.loads(loadgen("list", "--format", "json").stdout)["finds"]
    listed = [line for line in loadgen("list", "--explain").stdout.splitlines() if line.startswith("  ")]
    reason = (find["id"], "--because", "a sale", "--by", "maria")
    answers = {"accept": ("--until", "2999-12-01"), "explain": ("--link", "https://wiki.example/1"), "false": ()}

    for command, more in answers.items():
        explained = loadgen(command, *reason, *more, "--explain").output
        assert [line for line in explained.splitlines() if line.startswith("  ")] == listed
        assert "a find: " in explained
    assert "robust standard deviations" not in loadgen("false", *reason).output
    found = json.loads(loadgen("false", *reason, "--explain", "--format", "json").stdout)
    keys = ("observed", "expected", "deviations", "past", "revisions")
    assert [found[key] for key in keys] == [find[key] for key in keys]
    assert found["formula"]
