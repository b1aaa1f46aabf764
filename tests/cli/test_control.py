"""The socket by which a run is asked, and who may ask what; the commands' options and errors."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.errors import FleetError, UsageError
from loadgen_controller.commands.scale import parse_factor
from loadgen_controller.control import unix_socket
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.control.unix_socket import Going, ask, going, listening
from tests.cli.test_commands import loadgen
from tests.support.examples import examples

RUN = "20260101-101500-shop-ab12"


def folder(runs: Path, run_id: str = RUN) -> Path:
    made = runs / run_id
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}")
    return made


@asynccontextmanager
async def run_that_goes_on(runs: Path, run_id: str = RUN) -> AsyncIterator[list[tuple[ControlRequest, str]]]:
    heard: list[tuple[ControlRequest, str]] = []

    def answer(asked: ControlRequest, by: str) -> ControlReply:
        heard.append((asked, by))
        if asked.do == "resume":
            raise UsageError("the load is not paused", hint="loadgen pause")
        if asked.do == "skip":
            raise FleetError("agent b cannot be told")
        return ControlReply(lines=(f"{asked.do} done",))

    async with listening(folder(runs, run_id), run_id, answer):
        yield heard


async def say(path: str, data: bytes) -> dict[str, Any] | None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    if writer.can_write_eof():
        writer.write_eof()
    line = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return json.loads(line) if line else None


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


# -- the socket --------------------------------------------------------------------------------


async def test_a_run_is_asked_and_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    async with run_that_goes_on(runs) as heard:
        found = going(None, runs)
        told = await asyncio.to_thread(ask, found, ControlRequest(run_id=RUN, do="scale", factor=1.5, load="spike"))
        assert told == ControlReply(lines=("scale done",))
        ((asked, by),) = heard
        assert asked == ControlRequest(run_id=RUN, do="scale", factor=1.5, load="spike")
        assert by.endswith(f", process {os.getpid()}")
        path = Path(found.socket)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    assert not (runs / RUN / "control.json").exists()
    with pytest.raises(UsageError, match="no run is running"):
        going(None, runs)


async def test_an_error_comes_back_as_the_same_kind_of_error(tmp_path: Path) -> None:
    async with run_that_goes_on(tmp_path / "runs"):
        found = going(RUN[:12], tmp_path / "runs")
        with pytest.raises(UsageError, match="not paused") as caught:
            await asyncio.to_thread(ask, found, ControlRequest(run_id=RUN, do="resume"))
        assert caught.value.hint == "loadgen pause"
        with pytest.raises(FleetError, match="agent b"):
            await asyncio.to_thread(ask, found, ControlRequest(run_id=RUN, do="skip"))


NONSENSE = {
    "no JSON": (b"pause\n", "invalid control request"),
    "another thing": (b'{"run_id": "x", "do": "explode"}\n', "invalid control request"),
    "a field too many": (b'{"run_id": "%b", "do": "stop", "sudo": true}\n' % RUN.encode(), "invalid control request"),
    "a text for a number": (
        b'{"run_id": "%b", "do": "scale", "factor": "2"}\n' % RUN.encode(),
        "invalid control request",
    ),
    "another run": (b'{"run_id": "other", "do": "stop"}\n', "this is run"),
    "no end of line": (b'{"run_id": "%b", "do": "st' % RUN.encode(), "invalid control request"),
    "a line without end": (b"x" * 100_000, "longer than 4,096 bytes"),
    "no UTF-8": (b"\xff\xfe\x00\n", "invalid control request"),
    "deep": (b"[" * 2_000 + b"\n", "invalid control request"),
}


@pytest.mark.parametrize("case", NONSENSE)
async def test_what_is_no_question_is_told_so_and_harms_nothing(case: str, tmp_path: Path) -> None:
    data, says = NONSENSE[case]
    async with run_that_goes_on(tmp_path / "runs") as heard:
        path = going(None, tmp_path / "runs").socket
        answer = await say(path, data)
        assert answer is not None
        assert says in answer["error"]
        assert heard == []
        assert await say(path, b'{"run_id": "%b", "do": "pause"}\n' % RUN.encode()) == {"lines": ["pause done"]}


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_random_bytes_never_ask_for_anything(data: bytes, tmp_path: Path) -> None:
    async def play() -> None:
        def answer(asked: ControlRequest, by: str) -> ControlReply:
            raise AssertionError(asked)

        runs = tmp_path / "runs" / os.urandom(8).hex()
        async with listening(folder(runs), RUN, answer):
            told = await say(going(None, runs).socket, data)
            assert told is None if not data else told is not None and told["error"]

    asyncio.run(play())


async def test_who_connects_and_says_nothing_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "_PATIENCE_S", 0.2)
    async with run_that_goes_on(tmp_path / "runs"):
        path = going(None, tmp_path / "runs").socket
        mute = [await asyncio.open_unix_connection(path) for _ in range(5)]
        assert await say(path, b'{"run_id": "%b", "do": "pause"}\n' % RUN.encode()) == {"lines": ["pause done"]}
        for reader, writer in mute:
            assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()


async def test_another_user_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_that_goes_on(tmp_path / "runs") as heard:
        path = going(None, tmp_path / "runs").socket
        monkeypatch.setattr(unix_socket, "_peer", lambda writer: (1, os.getuid() + 1))
        answer = await say(path, b'{"run_id": "%b", "do": "stop"}\n' % RUN.encode())
        assert answer is not None
        assert "another user" in answer["error"]
        assert heard == []


async def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path(tempfile.mkdtemp(prefix="lg-"))  # a socket's path has room for 107 bytes
    open_to_all = short / "open"
    (open_to_all / f"loadgen-{os.getuid()}").mkdir(parents=True)
    (open_to_all / f"loadgen-{os.getuid()}").chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(open_to_all))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(short))
    try:
        async with run_that_goes_on(tmp_path / "runs"):
            assert Path(going(None, tmp_path / "runs").socket).parent == short / f"loadgen-{os.getuid()}"
    finally:
        shutil.rmtree(short)


async def test_a_path_that_is_too_long_for_a_socket_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    async with run_that_goes_on(tmp_path / "runs"):
        assert "xxx" not in going(None, tmp_path / "runs").socket


# -- which run ---------------------------------------------------------------------------------


async def test_of_several_runs_one_has_to_be_named(tmp_path: Path) -> None:
    runs, other = tmp_path / "runs", "20260102-101500-shop-cd34"
    async with run_that_goes_on(runs), run_that_goes_on(runs, other):
        with pytest.raises(UsageError, match="2 runs are running") as caught:
            going(None, runs)
        assert RUN in caught.value.hint
        assert other in caught.value.hint
        assert going("20260101", runs).run_id == RUN
        assert going(str(runs / other), runs).run_id == other
        assert going("last", runs).run_id == other


def left_behind(runs: Path, **other: Any) -> Path:
    found = {"format": 1, "run_id": RUN, "socket": str(runs / "s"), "pid": 2**22 + 1, "host": socket.gethostname()}
    (folder(runs) / "control.json").write_text(json.dumps(found | other))
    return runs


def test_a_run_that_died_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=f"cannot reach run {RUN}: its process 4194305 is gone"):
        going(None, left_behind(tmp_path / "runs"))


def test_a_socket_that_nobody_listens_on_is_a_run_that_died(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    found = going(None, left_behind(tmp_path / "runs", socket=str(path), pid=os.getpid()))
    with pytest.raises(FleetError, match="is gone"):
        ask(found, ControlRequest(run_id=RUN, do="pause"))


def test_a_run_of_another_machine_is_asked_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is conducted on elsewhere"):
        going(None, left_behind(tmp_path / "runs", host="elsewhere"))


def test_a_run_that_is_over_is_said_to_be(tmp_path: Path) -> None:
    folder(tmp_path / "runs")
    with pytest.raises(UsageError, match="is not running"):
        going(RUN, tmp_path / "runs")


async def test_a_run_that_is_stopped_by_the_system_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "_PATIENCE_S", 0.2)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        found = Going(format=1, run_id=RUN, socket=str(path), pid=os.getpid(), host="here")
        with pytest.raises(FleetError, match="does not answer"):
            await asyncio.to_thread(ask, found, ControlRequest(run_id=RUN, do="pause"))


# -- the commands ------------------------------------------------------------------------------


def test_factors_are_numbers_or_percent() -> None:
    assert [parse_factor(text) for text in ("1.5", "150%", "2x", "0.1")] == [1.5, 1.5, 2.0, 0.1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scale",), "no factor was given"),
        (("scale", "fast"), 'invalid factor "fast"'),
        (("scale", "0"), "above 0"),
        (("scale", "-1"), "no such option"),
        (("scale", "nan"), "above 0"),
        (("scale", "inf"), "finite and above 0"),
        (("scale", "1e999"), "finite and above 0"),
        (("scale", "--rate", "0"), "above 0"),
        (("scale", "--rate", "9" * 400), "too large"),
        (("scale", "--rate", "100000001/s"), "at most 100,000,000/s"),
        (("scale", "--users", "10000001"), "at most 10,000,000"),
        (("scale", "--rate", "much"), "invalid rate"),
        (("scale", "--users", "2.5"), 'invalid number of users "2.5"'),
        (("scale", "--users", "0"), "at least 1"),
        (("scale", "--rate", "5/s", "--users", "5"), "--rate and --users exclude each other"),
        (("scale", "2", "a", "b"), "too many arguments: a and b"),
        (("pause",), "no run is running"),
        (("resume", "20260101"), "no run 20260101"),
        (("stop", "--now"), "no run is running"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    result = loadgen(*words, "--runs-dir", tmp_path)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_run_that_died_ends_the_command_with_5(tmp_path: Path) -> None:
    result = loadgen("pause", "--runs-dir", left_behind(tmp_path / "runs"))
    assert result.exit_code == 5
    assert "is gone" in result.stderr
    assert "loadgen runs show" in result.stderr


@pytest.mark.parametrize("values", [{}, {"factor": 2.0, "rate": 5.0}])
def test_a_scale_needs_exactly_one_value_whoever_sends_it(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="exactly one of factor, rate and users"):
        ControlRequest(run_id=RUN, do="scale", **values).check()  # type: ignore[arg-type]
    ControlRequest(run_id=RUN, do="scale", users=5.0).check()
    ControlRequest(run_id=RUN, do="pause").check()
