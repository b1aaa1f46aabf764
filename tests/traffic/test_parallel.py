"""Several processes: the same traffic as with one, workers that die, Ctrl-C."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.errors import BugError, FleetError, UsageError
from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.parallel import first_pass, tasks
from loadgen.traffic.parallel.worker_pool import WorkerPool
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.scenario_files import files_of
from loadgen.traffic.scenario.traffic_json import traffic_json
from tests.traffic.test_read_logs import line, summary

ALL = LogOptions(names=NameRules(least_users=1, coverage=1.0), most_rejected=1.0, model=ModelRules())


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small files worth several processes and several ranges."""
    monkeypatch.setattr(first_pass, "_LEAST_BYTES", 1)
    monkeypatch.setattr(tasks, "_RANGE_BYTES", 20_000)


def lines(count: int, first: int = 0) -> Iterator[bytes]:
    for n in range(first, first + count):
        yield line(n % 200, f"/{'abcd'[n % 4]}/{n * n % 613}/x", n * 7 % 9_000, f"agent {n % 9}")
        if n % 50 == 0:
            yield b"bad line %d" % n
        if n % 90 == 0:
            yield line(1, "/t").replace(b"GET /t", b"\\x16\\x03")


def written(traffic: Traffic) -> dict[Path, str]:
    """The files of the scenario."""
    arrivals = arrivals_of(traffic)
    draft = draft_of(traffic, arrivals, target="http://127.0.0.1", command="loadgen model")
    return files_of(draft, Path("shop.py"), traffic_json(traffic, arrivals, draft, ALL))


@pytest.mark.usefixtures("small_parts")
def test_several_processes_give_the_same_traffic_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(lines(2_000)))
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"\n".join(lines(500, 300))))
    (tmp_path / "c.log").write_bytes(b"\r\n".join(lines(900, 5_000)) + b"\n")
    (tmp_path / "d.json").write_bytes(
        b'{"time":"2015-05-17T10:00:00Z","request":"GET /j HTTP/1.1","status":200,"remote_addr":"192.0.2.1"}\n' * 500
    )

    one = read_logs([tmp_path], ALL, salt=b"1" * 32)
    three = read_logs([tmp_path], replace(ALL, jobs=3), salt=b"1" * 32)

    assert len(tasks.tasks_of(LogInput(str(p), size=p.stat().st_size) for p in sorted(tmp_path.iterdir()))) > 10
    assert summary(three) == summary(one)
    assert three.accounting.examples() == one.accounting.examples()
    assert three.mappings == one.mappings
    assert written(three) == written(one)


@pytest.mark.usefixtures("small_parts")
def test_columns_that_a_line_names_keep_a_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"#Fields: date time c-ip\n" * 3_000)

    assert len(tasks.tasks_of([LogInput(str(tmp_path / "a"), size=72_000)])) == 1


@pytest.mark.usefixtures("small_parts")
def test_a_file_without_rights_is_left_to_the_parser(tmp_path: Path) -> None:
    source = LogInput(str(tmp_path / "gone"), size=1 << 30)

    assert tasks.tasks_of([source]) == [source]


@pytest.mark.usefixtures("small_parts")
def test_of_several_wrong_files_the_first_one_is_the_error(tmp_path: Path) -> None:
    for n in range(8):
        (tmp_path / f"{n}.log").write_bytes(b"\n".join(lines(100)) if n < 3 else b"hello\n")

    with pytest.raises(UsageError, match=r"3\.log: unknown log format"):
        read_logs([tmp_path], replace(ALL, jobs=3))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("end", "how"), [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "signal 9")])
def test_a_worker_that_ends_is_an_error_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, how: str
) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(lines(2_000)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(
        f"#!/bin/sh\nexec {os.path.realpath(sys.prefix)}/bin/python -c 'import os; {end}'\n"
    )
    (tmp_path / "python").chmod(0o700)

    with pytest.raises(FleetError, match=f"a process that parses logs ended with {how}") as error:
        read_logs([tmp_path / "a.log"], replace(ALL, jobs=2))

    assert "--jobs 1" in error.value.hint


def test_a_bug_in_a_worker_is_reported_as_one() -> None:
    impossible = LogInput("a\0b")
    with WorkerPool(1, LogOptions(), b"1" * 32) as pool, pytest.raises(BugError, match="ValueError"):
        pool.run([(0, impossible)], lambda *_: None, lambda *_: None)


_ENDLESS = """
import sys
from pathlib import Path
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.parallel import first_pass
from loadgen.traffic.read_logs import read_logs
first_pass._LEAST_BYTES = 1
print("begin", flush=True)
read_logs([Path(name) for name in sys.argv[1:]], LogOptions(jobs=2))
"""


def workers_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command_whatever_ends_it(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(lines(500)))
    (tmp_path / "b.log").write_bytes(b"\n".join(lines(500)))
    with subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, *(str(tmp_path / name) for name in ("a.log", "b.log"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        assert command.stdout is not None
        command.stdout.readline()
        while not (workers := workers_of(command.pid)):
            time.sleep(0.01)
        command.send_signal(how)
        command.communicate(timeout=60)

    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        time.sleep(0.01)
