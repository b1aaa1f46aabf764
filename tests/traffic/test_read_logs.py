"""Whole logs: known answers, exact accounting, any order and split, hostile lines, secrets."""

from __future__ import annotations

import gzip
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.traffic.filters.exclusions import KINDS, ExclusionRules
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from tests.support.examples import examples

LOGS = Path(__file__).parents[1] / "data/logs"
EVERYTHING = ExclusionRules(frozenset(KINDS))
"""Excludes nothing."""
ALL = LogOptions(names=NameRules(least_users=1, coverage=1.0), most_rejected=1.0)


def line(n: int = 0, path: str = "/", second: int = 0, agent: str = "curl/8") -> bytes:
    clock = f"{10 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f'203.0.113.{n} - - [17/May/2015:{clock} +0000] "GET {path} HTTP/1.1" 200 5 "-" "{agent}"'.encode()


def written(folder: Path, *lines: bytes, name: str = "a.log") -> Path:
    (folder / name).write_bytes(b"".join(text + b"\n" for text in lines))
    return folder / name


def summary(traffic: Traffic) -> object:
    """Everything that must not depend on the order of files and lines."""
    sessions = traffic.sessions
    arrays = (sessions.starts.tolist(), sessions.lengths.tolist(), sessions.durations.tolist())
    figures = (sessions.users, sessions.cut, sessions.counts_by_timeout, sessions.first_names, sessions.shared_users)
    names = (traffic.names.kept, traffic.names.other_count, traffic.names.rare_names)
    return traffic.accounting.as_json(), traffic.statuses, traffic.first_us, traffic.last_us, arrays, figures, names


def test_the_elastic_log_has_its_known_answers() -> None:
    traffic = read_logs([LOGS / "apache_logs_elastic.log.gz"], LogOptions(exclusions=EVERYTHING))

    accounting = traffic.accounting
    assert (accounting.read, accounting.taken, accounting.rejected.total()) == (10_000, 9_999, 1)
    known = {200: 9125, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3}
    assert {status: traffic.statuses[status] for status in known} == known
    assert traffic.sessions.users == 1_861
    assert int(traffic.sessions.lengths.sum()) == 9_999
    assert sum(name.count for name in traffic.names.kept) + traffic.names.other_count == 9_999
    assert (accounting.examples()["a quote is missing"][0].line) == 8_899


def test_the_elastic_log_is_refused_times_between_requests() -> None:
    traffic = read_logs([LOGS / "apache_logs_elastic.log.gz"])

    assert traffic.minutes_of_hour == 1
    assert any("Requests start only in 1 of the 60 minutes of an hour" in text for text in traffic.limits)


def test_a_model_without_some_paths_says_so() -> None:
    traffic = read_logs([LOGS / "apache_logs_elastic.log.gz"], LogOptions(model=ModelRules()))
    assert traffic.model is not None
    assert not any("files of values" in text for text in traffic.limits)

    cut = replace(traffic, model=replace(traffic.model, are_paths_complete=False))

    assert any("more than 500,000 different paths, so the files of values" in text for text in cut.limits)


def test_all_samples_together_are_accounted_for() -> None:
    files = [p for p in LOGS.iterdir() if p.suffix != ".md"]
    traffic = read_logs(files, LogOptions(exclusions=EVERYTHING))

    assert traffic.accounting.as_json() == {
        "read": 10_000 + 13 + 12 + 4 + 6,
        "taken": 9_999 + 12 + 12 + 2 + 6,
        "excluded": {"no HTTP request": 1},
        "rejected": 1,
        "rejected_by_reason": {"a quote is missing": 1},
        "directives": 2,
        "taken_by_format": {"alb": 12, "cloudfront": 2, "combined": 10_011, "s3": 6},
        "incomplete": [],
    }


def test_a_file_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    file = written(tmp_path, line())

    assert read_logs([file, tmp_path, file]).accounting.read == 1


def test_a_session_ends_after_a_silence(tmp_path: Path) -> None:
    file = written(tmp_path, line(1, second=0), line(1, second=1800), line(1, second=3601), line(2, second=5))

    sessions = read_logs([file], ALL).sessions

    assert (sessions.users, sessions.count) == (2, 3)
    assert sessions.lengths.tolist() == [2, 1, 1]
    assert sessions.durations.tolist() == [1_800_000_000, 0, 0]
    assert sessions.counts_by_timeout == {600: 4, 1800: 3, 3600: 2}


def test_a_silence_counts_from_the_end_of_the_longest_request(tmp_path: Path) -> None:
    long, short = line(1, second=0) + b" 3000", line(1, second=10) + b" 1"
    file = written(tmp_path, long, short, line(1, second=4000) + b" 1")
    options = replace(ALL, formats=replace(ALL.formats, time_after="s"))

    assert read_logs([file], options).sessions.count == 1


def test_a_user_is_an_address_with_an_agent_or_the_user_field(tmp_path: Path) -> None:
    jane = [line(n, agent=agent).replace(b"- - [", b"- jane [") for n in (1, 2) for agent in ("a", "b")]
    file = written(tmp_path, *jane, line(1, agent="a"))

    assert read_logs([file], ALL).sessions.users == 4
    assert read_logs([file], replace(ALL, by_user=True)).sessions.users == 2


def test_the_first_requests_of_sessions_are_counted_by_name(tmp_path: Path) -> None:
    file = written(tmp_path, line(1, "/a", 0), line(1, "/b", 1), line(2, "/b", 2), line(2, "/b", 3))

    traffic = read_logs([file], ALL)

    assert [name.name for name in traffic.names.kept] == ["GET /b", "GET /a"]
    assert traffic.sessions.first_names == (1, 1, 0)


def test_a_gateway_is_counted_as_shared(tmp_path: Path) -> None:
    file = written(tmp_path, *(line(1, second=n // 2) for n in range(700)), *(line(2, second=n) for n in range(60)))

    sessions = read_logs([file], replace(ALL, exclusions=ExclusionRules(frozenset({"health"})))).sessions

    assert (sessions.shared_users, sessions.shared_requests) == (1, 700)
    assert sessions.lengths.tolist() == [60]


POOL = [
    *(line(n % 5, f"/{'abcd'[n % 4]}/{n}", n * 611 % 9000, f"agent {n % 2}") for n in range(40)),
    *(line(n % 3, f"/{n}.css", n, f"agent {n % 2}") for n in range(4)),
    *(line(n % 3, f"/{n}", n, "Examplebot/1.0") for n in range(4)),
    *(line(7, "/ready", 30 * n) for n in range(25)),
    *(b"", b"# comment", b"garbage", line()[:-1], line().replace(b"GET", b"\\x16\\x03"), b"\xff\xfe" * 9, b"a\0b"),
    line().replace(b"10:00:00", b"10:99:00"),
    line() + b"\r",
]


@settings(max_examples=examples(160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(POOL), min_size=1, max_size=80), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_order_and_split_gives_the_same_and_every_line_counts(
    tmp_path: Path, lines: list[bytes], files: int, rng: random.Random
) -> None:
    lines = [*lines, line()]
    options = replace(ALL, format="combined")
    whole = read_logs([written(tmp_path, *lines)], options, salt=b"1")
    shuffled = lines[:]
    rng.shuffle(shuffled)
    parts = [written(tmp_path, *shuffled[n::files], name=f"part{n}.log") for n in range(files)]
    rng.shuffle(parts)

    split = read_logs(parts, options, salt=b"2")

    assert whole.accounting.read == len(lines)
    assert whole.accounting.adds_up
    assert summary(split) == summary(whole)


def test_temporary_files_give_the_same_as_memory_and_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = LOGS / "apache_logs_elastic.log.gz"

    options = LogOptions(exclusions=EVERYTHING)
    spooled = read_logs([log], replace(options, memory_bytes=1))

    assert 0 < spooled.spooled_bytes < 0.05 * 2_370_789
    assert summary(spooled) == summary(read_logs([log], options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x" * 10_000_000, "longer than 256 KiB"),
        (b'1.1.1.1 - - [17/May/2015:10:00:00 +0000] "' + b"GET /" * 2_000_000, "longer than 256 KiB"),
        (line().replace(b" 200 ", b" 70000 "), "a number of bytes or a status is invalid"),
        (b" [" * 100_000, "not in the combined format"),
        (b'\\" [' * 50_000, "not in the combined format"),
        (b"\0" * 5_000 + line(), "NUL bytes; the log was cut while the server was writing"),
        (b"\xff\xfe\x00\x01 \x80", "NUL bytes; the log was cut while the server was writing"),
        (b"caf\xe9 \xff\xfe", "not in the combined format"),
    ],
)
@pytest.mark.timeout(20)
def test_a_hostile_line_is_one_rejected_line(tmp_path: Path, bad: bytes, reason: str) -> None:
    file = written(tmp_path, line(1), bad, line(2))

    accounting = read_logs([file], replace(ALL, format="combined")).accounting

    assert (accounting.read, accounting.taken, accounting.rejected.total()) == (3, 2, 1)
    assert list(accounting.rejected) == [reason]
    assert accounting.examples()[reason][0].line == 2


def test_bytes_that_are_no_utf_8_in_path_and_agent_are_taken(tmp_path: Path) -> None:
    file = written(tmp_path, line().replace(b"GET /", b"GET /caf\xe9").replace(b"curl", b"\xfcrl"))

    assert read_logs([file], ALL).names.kept[0].name == "GET /caf%EF%BF%BD"


def test_requests_of_tls_and_empty_requests_are_excluded(tmp_path: Path) -> None:
    tls = line().replace(b"GET / HTTP/1.1", rb"\x16\x03\x01")
    empty = line().replace(b"GET / HTTP/1.1", b"-")

    accounting = read_logs([written(tmp_path, line(), tls, empty)], ALL).accounting

    assert accounting.excluded == {"no HTTP request": 2}


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"\xef\xbb\xbf" + line(1) + b"\r\n\r\n" + line(2) + b"\r\n")

    accounting = read_logs([tmp_path / "a.log"]).accounting

    assert (accounting.read, accounting.taken, accounting.directives) == (3, 2, 1)


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(line(1) + b"\n") + gzip.compress(line(2) + b"\n"))

    assert read_logs([tmp_path / "a"]).accounting.taken == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the logs have no request: 0 lines"),
        (b"\n\n", "the logs have no request: 2 lines"),
        (bytes(range(256)) * 9, r"a\.log: unknown log format"),
        (gzip.compress(line() * 99)[:40], r"a\.log: the archive ends too early"),
        (gzip.compress(random.Random(1).randbytes(3000))[:-30] + b"x" * 30, r"a\.log: the archive is damaged"),
        (zstandard.compress(line() * 99)[:-9], r"a\.log: the archive ends too early"),
        (b"\x28\xb5\x2f\xfd1234", r"a\.log: the archive is damaged"),
        (line() + b"\n" + b"junk\n" * 3, r"3 of 4 lines were rejected, more than 1 %.*a\.log:2: aaaa"),
    ],
    ids=["empty", "empty lines", "binary", "cut archive", "damaged archive", "cut zstd", "damaged zstd", "junk"],
)
def test_a_bad_file_is_an_error_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.log").write_bytes(content)

    with pytest.raises(UsageError, match=message) as error:
        read_logs([tmp_path / "a.log"])

    assert error.value.hint


@pytest.mark.parametrize("path", ["missing.log", "empty"])
def test_a_missing_file_and_an_empty_folder_are_errors(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=r"file not found|has no files"):
        read_logs([tmp_path / path])


def test_a_wrong_format_that_was_forced_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 of 1 line was rejected.*Application Load Balancer"):
        read_logs([written(tmp_path, line())], LogOptions(format="alb"))


def test_planted_secrets_are_in_no_output_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    kept: list[bytes] = []
    secrets = [f"s3cr3t{n:03}Zq" for n in range(200)]
    lines = [line(n % 200, f"/login?token={s}&card=4111111111111111", n, f"agent-{s}") for n, s in enumerate(secrets)]
    lines += [line(n % 200, f"/reset/{s}", n) for n, s in enumerate(secrets)]
    lines += [line(7, f"/app;jsessionid={s}/x", n) for n, s in enumerate(secrets)]
    lines += [f"junk {s} jane{n}@shop.example 203.0.113.9".encode() for n, s in enumerate(secrets)]
    lines += [line().replace(b"GET / HTTP/1.1", s.encode()) for s in secrets]

    traffic = read_logs(
        [written(tmp_path, *lines)],
        LogOptions(most_rejected=1, memory_bytes=1, format="combined"),
        further_pass=lambda named: kept.extend(rows.tobytes() for rows in named.partitions),
    )

    output = repr(traffic) + repr(traffic.accounting.examples()) + "".join(traffic.limits)
    everything = output.encode() + b"".join(kept)
    assert kept
    assert not [s for s in secrets if s.encode() in everything]
    assert not any(text in everything for text in (b"4111111111111111", b"@shop", b"203.0.113", b"agent-"))


def test_arrays_of_sessions_are_sorted_by_start(tmp_path: Path) -> None:
    starts = read_logs([LOGS / "apache_logs_elastic.log.gz"]).sessions.starts

    assert np.all(np.diff(starts) >= 0)
