"""`loadgen probe run` and `loadgen probe add`: what was read beside a server becomes a part of the run."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen import open_run
from loadgen.engine.health.machine_clock import boot_id
from loadgen.measure.run_folder.crc_record_file import framed
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.probes.journal import Begin, Journal, ProbeOfRun, Sample, Zero, read_journal
from loadgen_controller import cli
from tests.support.metrics_server import metrics_server
from tests.support.past_runs import past_run

S = 1_000_000_000
FILE = """
[probes.apart]
url = "{url}"
metrics = ["level"]
every = "200ms"
at = "apart"

[probes.here]
url = "{url}"
metrics = ["other"]
"""


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["probe", *map(str, args)], env={"COLUMNS": "120"})


def read(folder: Path, *more: str, seconds: str = "1s") -> Result:
    return call("run", folder / "loadgen.toml", "--for", seconds, "-o", folder / "db.probes", *more)


def a_run(folder: Path, began: datetime) -> Path:
    """A run of 300 s whose load began at a time, and that read no probe."""
    run_id = f"{began.strftime('%Y%m%d-%H%M%S')}-shop-a1b2"
    return past_run(folder / "runs", run_id, seconds=300, per_s=2)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of one second, read just now."""
    tmp_path = tmp_path_factory.mktemp("apart")
    with metrics_server(lambda: "level 7\n") as server:
        (tmp_path / "loadgen.toml").write_text(FILE.format(url=server.url))
        done = read(tmp_path)
    assert done.exit_code == 0, done.output
    assert "reading apart for 1 s" in done.stderr
    assert f"written to {tmp_path / 'db.probes'}" in done.stdout
    return tmp_path / "db.probes"


def test_a_run_without_probes_gets_those_that_were_read_beside_the_server(tmp_path: Path, journal: Path) -> None:
    pytest.importorskip("pandas")
    run = a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))

    added = call("add", "last", journal, "--runs-dir", tmp_path / "runs", "--clock-error", "5ms")

    assert added.exit_code == 0, added.output
    assert "times of the file are right within 6.00 ms, and 360 ms an hour more" in added.stdout
    (figures,) = json.loads((run / "summary.json").read_text())["probes"]
    assert (figures["name"], figures["rows"][0]["mean"]) == ("apart", 7)
    frame: Any = open_run(run).probes()
    assert set(frame[frame.metric == "level"].value) == {7.0}
    assert frame.at_s.between(0, 300).all()
    assert (frame.error_s >= 0.006).all()
    (lane,) = json.loads((run / "metrics.json").read_text())["metrics"]
    assert lane["probe"] == "apart"

    again = call("add", "last", journal, "--runs-dir", tmp_path / "runs")
    assert again.exit_code == 0, again.output
    assert len(json.loads((run / "summary.json").read_text())["probes"]) == 1


def test_the_same_machine_has_the_same_clock(tmp_path: Path, journal: Path) -> None:
    run = a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))
    named = ProbeOfRun("apart", "h", S, at="apart")
    log = Journal(run)
    now_ns = time.perf_counter_ns()
    log.append(Begin(2, utc_text(datetime.now(UTC)), now_ns, (named,), boot_id()), Zero(now_ns - 120 * S))
    log.close()
    (run / "metrics.json").write_text('{"format": 1, "source": "cloudwatch", "metrics": [{"name": "cpu"}]}')

    added = call("add", "last", journal, "--runs-dir", tmp_path / "runs")

    assert added.exit_code == 0, added.output
    if boot_id():
        assert "their times are of the same clock" in added.stdout
        moved = [one for one in read_journal(run) if isinstance(one, Sample)]
        own = [one for one in read_journal(journal.parent, journal.name) if isinstance(one, Sample)]
        assert [one.sent_ns for one in moved] == [one.sent_ns for one in own]
    lanes = json.loads((run / "metrics.json").read_text())
    assert [one["name"] for one in lanes["metrics"]] == ["cpu", "level"]


def test_a_journal_of_another_time_or_of_a_probe_that_the_run_has_read_is_refused(
    tmp_path: Path, journal: Path
) -> None:
    run = a_run(tmp_path, datetime.now(UTC) - timedelta(hours=5))

    late = call("add", "last", journal, "--runs-dir", tmp_path / "runs")
    log = Journal(run)
    log.append(Begin(2, utc_text(datetime.now(UTC)), 0, (ProbeOfRun("apart", "h", S),)), Zero(0))
    log.close()
    twice = call("add", "last", journal, "--runs-dir", tmp_path / "runs")
    other = call("add", "last", run / "manifest.json", "--runs-dir", tmp_path / "runs")
    missing = call("add", "none", tmp_path / "none.probes", "--runs-dir", tmp_path / "runs", "--clock-error", "soon")

    assert (late.exit_code, twice.exit_code, missing.exit_code) == (2, 2, 2)
    assert "but the run lasted 300 s" in late.stderr
    assert "the run has read the probe apart itself" in twice.stderr
    assert other.exit_code != 0
    assert "cannot read" in other.stderr
    assert sum(line.startswith("error: ") for line in missing.stderr.splitlines()) == 3


def test_ctrl_c_keeps_what_was_read(tmp_path: Path) -> None:
    with metrics_server(lambda: "level 7\n") as server:
        (tmp_path / "loadgen.toml").write_text(FILE.format(url=server.url))
        journal = tmp_path / "db.probes"

        def interrupt() -> None:
            until_s = time.monotonic() + 60
            while time.monotonic() < until_s:
                if journal.exists() and any(isinstance(one, Sample) for one in read_journal(tmp_path, journal.name)):
                    break
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        done = call("run", tmp_path / "loadgen.toml", "-o", journal)

    assert done.exit_code == 0, done.output
    assert [one for one in read_journal(tmp_path, journal.name) if isinstance(one, Sample)]


def test_a_probe_without_samples_gives_an_exit_code(tmp_path: Path) -> None:
    with metrics_server(lambda: "level 7\n") as server:
        (tmp_path / "loadgen.toml").write_text(FILE.format(url=server.url))
        some = read(tmp_path, "--probe", "apart", "--probe", "here")
    (tmp_path / "db.probes").unlink()
    (tmp_path / "loadgen.toml").write_text(FILE.format(url="http://127.0.0.1:1/metrics"))
    none = read(tmp_path)

    assert some.exit_code == 3, some.output
    assert "no samples of here: none of the probe's metrics is on the page" in some.stderr
    assert none.exit_code == 5
    assert "no connection to 127.0.0.1:1" in none.stderr


def test_all_wrong_options_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(FILE.format(url="http://8.8.8.8/metrics"))
    (tmp_path / "db.probes").write_text("here already")

    done = read(tmp_path, seconds="10ms")
    unknown = read(tmp_path, "--probe", "apert")
    empty = call("run", tmp_path / "none.toml", "-o", tmp_path / "x.probes")

    assert done.exit_code == unknown.exit_code == empty.exit_code == 2
    assert "probe apart: 8.8.8.8:80 is public" in done.stderr
    assert "exists" in done.stderr
    assert "--for must be at least 1s" in done.stderr
    assert 'has no probe "apert"' in unknown.stderr
    assert "cannot be read" in empty.stderr


# -- check of a name or a file -----------------------------------------------------------------------


def test_the_probes_of_a_file_are_checked_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with metrics_server(lambda: "level 7\n") as server:
        (tmp_path / "loadgen.toml").write_text(FILE.format(url=server.url))
        one, both = call("check", "apart"), call("check", "loadgen.toml")
        missing = call("check", "apert")
        option = call("check", "apart", "--preset", "vllm")

    assert one.exit_code == 0, one.output
    assert ["level", "level", "7"] in [line.split() for line in one.stdout.splitlines()]
    assert both.exit_code == 3
    assert "probe apart\n" in both.stdout
    assert "1 of 2 probes cannot be read, or miss something" in both.stderr
    assert missing.exit_code == option.exit_code == 2
    assert "apart" in missing.stderr
    assert "need a URL" in option.stderr


def test_a_name_without_a_file_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    name, path = call("check", "shopdb"), call("check", "none/loadgen.toml")

    assert name.exit_code == path.exit_code == 2
    assert 'no loadgen.toml in this folder or above, which could have the probe "shopdb"' in name.stderr
    assert "none/loadgen.toml: no such file" in path.stderr


def test_a_damaged_journal_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))
    log = Journal(tmp_path, "odd.probes")
    now_ns = time.perf_counter_ns()
    log.append(Begin(2, utc_text(datetime.now(UTC)), now_ns, (ProbeOfRun("x", "h", S),)))
    log.append(Sample(7, now_ns, now_ns, (3,), (1.0,)))
    log.close()

    done = call("add", "last", tmp_path / "odd.probes", "--runs-dir", tmp_path / "runs")

    assert done.exit_code == 2, done.output
    assert "is damaged: a record belongs to no probe" in done.stderr
    assert not (run / "probes").exists()


def test_a_journal_with_a_record_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))
    log = Journal(tmp_path, "odd.probes")
    log.append(Begin(2, utc_text(datetime.now(UTC)), 5, (ProbeOfRun("x", "h", S),)))
    log.close()
    body = b"[" * 100_000 + b"]" * 100_000
    with (tmp_path / "odd.probes").open("ab") as file:
        file.write(framed(b'{"type":"note","probe":0,"at_ns":5,"kind":"mark","body":{"a":' + body + b"}}"))

    done = call("add", "last", tmp_path / "odd.probes", "--runs-dir", tmp_path / "runs")

    assert done.exit_code == 5, done.output
    assert "cannot read" in done.stderr
    assert "bug" not in done.stderr


def test_a_journal_that_is_cut_off_is_used_as_far_as_it_goes_with_a_warning(tmp_path: Path, journal: Path) -> None:
    a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))
    whole = journal.read_bytes()
    (tmp_path / "cut.probes").write_bytes(whole[:-3])
    (tmp_path / "whole.probes").write_bytes(whole)

    cut = call("add", "last", tmp_path / "cut.probes", "--runs-dir", tmp_path / "runs")
    done = call("add", "last", tmp_path / "whole.probes", "--runs-dir", tmp_path / "runs")

    assert cut.exit_code == done.exit_code == 0, cut.output + done.output
    assert "are damaged and were left out" in cut.stderr
    assert "damaged" not in done.stderr


def test_a_huge_journal_is_refused_before_it_is_read(tmp_path: Path) -> None:
    a_run(tmp_path, datetime.now(UTC) - timedelta(seconds=120))
    with (tmp_path / "huge.probes").open("wb") as file:
        file.truncate(600 << 20)  # sparse

    done = call("add", "last", tmp_path / "huge.probes", "--runs-dir", tmp_path / "runs")

    assert done.exit_code == 2, done.output
    assert "has more than 512 MiB" in done.stderr
