"""Logs that are wrong or unusual, given to the command: a sentence and an exit code, or a scenario that loads."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.sessions.stray_times import stray_times
from loadgen_controller import cli
from tests.traffic.test_read_logs import line, written

ALL = LogOptions(names=NameRules(least_users=1, coverage=1.0))


def model(*args: str | Path, text: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.app, ["model", *map(str, args)], input=text, env={"COLUMNS": "200"})


def at(day: str, n: int = 0, path: str = "/") -> bytes:
    return line(n % 200, path, n).replace(b"17/May/2015", day.encode())


def seconds(count: int, span: int) -> list[int]:
    """Times in random distances, as those of people: equal distances are those of health checks."""
    return sorted(random.Random(1).choices(range(span), k=count))


USUAL = [at("17/May/2015", n) for n in range(300)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the logs have no request"),
        ([bytes(range(256)).replace(b"\n", b"")] * 9, "unknown log format"),
        ([*USUAL, *([b"203.0.113.9 - - [17/May"] * 9)], "were rejected, more than 1 %"),
        ([at("17/May/2015", path="/robots.txt")], "the logs have no request"),
    ],
    ids=["empty", "binary", "cut lines", "only crawlers"],
)
def test_a_log_of_no_use_ends_with_code_2_and_writes_nothing(tmp_path: Path, lines: list[bytes], message: str) -> None:
    done = model(written(tmp_path, *lines), "-o", tmp_path / "new/shop.py")

    assert done.exit_code == ExitCode.USAGE
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_cut_archive_ends_with_code_2_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\n".join(USUAL))[:-9])

    done = model(tmp_path / "a.gz", "-o", tmp_path / "new/shop.py")

    assert (done.exit_code, (tmp_path / "new").exists()) == (ExitCode.USAGE, False)
    assert "a.gz: the archive ends too early" in done.stderr


@pytest.mark.parametrize("day", ["17/May/2014", "17/May/2099"], ids=["a year ago", "in the future"])
def test_a_few_requests_of_another_time_are_shown_with_the_way_to_leave_them_out(tmp_path: Path, day: str) -> None:
    file = written(tmp_path, *USUAL, at(day), at(day))

    done = model(file)
    limited = model(file, "--from", "2015-05-17", "--to", "2015-05-17")

    assert "2 requests are days away from all others" in done.stderr
    assert "--from 2015-05-17 --to 2015-05-17" in done.stderr
    assert "days away" not in limited.stderr
    assert "not in the period" in limited.stdout


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ({10: 500}, None),
        ({10: 500, 11: 2, 13: 1}, None),
        ({10: 500, 30: 400}, None),
        ({1: 2, 10: 500, 11: 400, 14: 1}, (3, date(1970, 1, 15))),
        ({1: 2, 3: 1, 10: 500, 11: 400}, (3, date(1970, 1, 4))),
    ],
    ids=["one day", "a day without requests", "two parts", "before and after", "before"],
)
def test_stray_days_are_few_requests_after_days_without_any(
    days: dict[int, int], expected: tuple[int, date] | None
) -> None:
    found = stray_times(days)

    assert (None if found is None else (found.requests, found.nearest)) == expected


def test_a_clock_that_goes_back_gives_the_same_as_lines_in_order(tmp_path: Path) -> None:
    lines = [line(n % 7, f"/{n % 3}", second) for n, second in enumerate(seconds(900, 9_000))]
    back = [*lines[300:600], *lines[:300], *reversed(lines[600:])]

    ordered = read_logs([written(tmp_path, *lines)], ALL).sessions
    turned = read_logs([written(tmp_path, *back, name="b")], ALL).sessions

    assert (turned.lengths.tolist(), turned.starts.tolist()) == (ordered.lengths.tolist(), ordered.starts.tolist())


def errors_of_the_server() -> list[bytes]:
    return [at("17/May/2015", n, f"/{n % 3}").replace(b" 200 ", b" 503 ") for n in range(300)]


def test_a_log_with_only_errors_of_the_server_is_no_model_of_users(tmp_path: Path) -> None:
    log = written(tmp_path, *errors_of_the_server())

    done = model(log, "-o", tmp_path / "new/shop.py", "--least-users", "1")

    assert done.exit_code == 2
    assert "all requests (300) failed with a 5xx status" in done.stderr
    assert "--keep errors" in done.stderr
    assert not (tmp_path / "new").exists()


def test_one_answer_below_500_makes_a_log_of_errors_a_model(tmp_path: Path) -> None:
    log = written(tmp_path, *errors_of_the_server(), at("17/May/2015", 300, "/1").replace(b" 200 ", b" 499 "))

    done = model(log, "-o", tmp_path / "new/shop.py", "--least-users", "1")

    assert done.exit_code == 0, done.output


def test_a_log_with_only_errors_of_the_server_gives_a_scenario_when_errors_are_kept(tmp_path: Path) -> None:
    log = written(tmp_path, *errors_of_the_server())

    done = model(log, "-o", tmp_path / "new/shop.py", "--least-users", "1", "--keep", "errors")

    assert done.exit_code == 0, done.output
    assert "503: 300" in done.stdout
    assert "503" in (tmp_path / "new/shop.py").read_text()


def test_one_client_alone_is_shown_as_a_limit(tmp_path: Path) -> None:
    done = model(written(tmp_path, *(line(1, "/", n) for n in seconds(99, 9_000))), "--least-users", "1")

    assert done.exit_code == 0, done.output
    assert "The log has 1 user; sessions need at least 50" in done.stderr


def test_a_log_that_is_there_twice_under_two_names_is_shown_as_counted_twice(tmp_path: Path) -> None:
    lines = [at("17/May/2015", n) for n in range(300)]
    written(tmp_path, *lines, name="access.log.1")
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(b"".join(one + b"\n" for one in lines[:200])))
    written(tmp_path, *(at("18/May/2015", n) for n in range(300)), name="access.log")

    done = model(tmp_path)

    assert done.exit_code == 0, done.output
    text = " ".join(done.stderr.split())
    assert "2 inputs begin with the same lines" in text
    assert "count 2 times: access.log.1, access.log.1.gz. Name one of them" in text
    assert "begin with the same lines" not in model(tmp_path / "access.log", tmp_path / "access.log.1").stderr


@pytest.mark.parametrize(("lines_without", "share"), [(300, "100 % have none"), (75, "25 % have none")])
def test_durations_that_are_missing_are_shown_with_their_share(tmp_path: Path, lines_without: int, share: str) -> None:
    lines = [at("17/May/2015", n) + (b' "-"' if n < lines_without else b" 0.250") for n in range(300)]

    done = model(written(tmp_path, *lines), "--time-after", "s")

    assert done.exit_code == 0, done.output
    assert share in done.stdout
    assert f"--time-after: {lines_without} of 300 requests have no duration after the user agent" in done.stderr


def test_json_times_durations_and_users_are_shown_with_their_members(tmp_path: Path) -> None:
    lines = [
        b'{"time":"2015-05-17T10:%02d:00Z","request":"GET / HTTP/1.1","status":200,"remote_addr":"203.0.113.%d",'
        b'"request_time":0.25}' % (n % 60, n % 90)
        for n in seconds(300, 3_000)
    ]

    done = model(written(tmp_path, *lines))

    assert done.exit_code == 0, done.output
    assert "time=time:end, took=request_time:s, client=remote_addr; no size, agent" in done.stdout
    assert "all requests have one" in done.stdout


def test_one_very_long_session_is_one_session(tmp_path: Path) -> None:
    lines = [line(1, f"/{n % 5}", second) for n, second in enumerate(seconds(20_000, 45_000))]

    sessions = read_logs([written(tmp_path, *lines)], ALL).sessions

    assert sessions.lengths.tolist() == [20_000]


def test_blank_lines_before_the_log_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\n" * 1_200_000 + b"\n".join(USUAL))

    accounting = read_logs([tmp_path / "a"], ALL).accounting

    assert (accounting.taken, accounting.directives, accounting.adds_up) == (300, 1_200_000, True)


def test_logs_from_standard_input_are_read() -> None:
    done = model("-", text=gzip.compress(b"\n".join(USUAL)))

    assert done.exit_code == 0, done.output
    assert "300" in done.stdout


def test_rejected_lines_are_beside_the_scenario_in_outline(tmp_path: Path) -> None:
    bad = [b"secret s3cr3t jane@shop.example %d" % n for n in range(30)]
    file = written(tmp_path, *bad, *USUAL)

    done = model(file, "-o", tmp_path / "new/shop.py", "--max-rejects", "20%", "--format", "combined")

    assert done.exit_code == 0, done.output
    assert "traffic.json, rejects.jsonl and report.html" in done.stdout
    rows = [json.loads(text) for text in (tmp_path / "new/rejects.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(1, 21))
    assert rows[0] == {
        "reason": "not in the combined format",
        "file": str(file),
        "line": 1,
        "outline": "aaaaaa a0aa0a aaaa@aaaa.aaaaaaa 0",
    }


def test_without_rejected_lines_there_is_no_file_of_them(tmp_path: Path) -> None:
    model(written(tmp_path, *USUAL), "-o", tmp_path / "new/shop.py")

    assert (tmp_path / "new/traffic.json").exists()
    assert not (tmp_path / "new/rejects.jsonl").exists()


def test_a_full_disk_ends_with_code_5_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = written(tmp_path, *USUAL)
    monkeypatch.setattr("loadgen.traffic.reading.partitions.os.write", full)
    monkeypatch.setattr("loadgen.traffic.reading.partitions.Partitions.__init__.__defaults__", (0,))
    original = LogOptions.__init__.__defaults__
    assert original is not None
    monkeypatch.setattr(LogOptions.__init__, "__defaults__", tuple(0 if d == 128 << 20 else d for d in original))

    done = model(file, "-o", tmp_path / "new/shop.py")

    assert done.exit_code == ExitCode.FLEET
    assert "No space left on device" in done.stderr
    assert "TMPDIR" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--day", "2026-11-20", "--to", "2026-11-21"), "--day cannot be combined with --from and --to"),
        (("--day", "yesterday"), '--day: invalid time "yesterday"'),
        (("--from", "2026-11-21", "--to", "2026-11-20"), "is empty"),
    ],
)
def test_a_wrong_period_is_an_error_before_a_log_is_read(options: tuple[str, ...], message: str) -> None:
    done = model("missing.log", *options)

    assert done.exit_code == ExitCode.USAGE
    assert message in done.stderr
