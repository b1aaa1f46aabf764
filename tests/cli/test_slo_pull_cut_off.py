"""`loadgen slo pull` on a full disk and after Ctrl-C: earlier files stay whole, and a second pull finishes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from tests.cli.test_slo_pull import loadgen, server, url_of, written
from tests.support.metrics_server import MetricsServer
from tests.support.run import started
from tests.support.small_disk import filled, small_disk

__all__ = ["server"]  # a fixture
pytestmark = pytest.mark.process
NAMES = ("checkout-fast", "search-fast")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with small_disk(tmp_path / "history"):
        yield


def read(history: Path) -> dict[str, tuple[Slice, ...]]:
    now = int(time.time())
    reading = Ledger(place_of(str(history))).read(now - 86_400, now)
    return {name: tuple(reading.slices(name)) for name in reading.by_slo}


def files(history: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in history.rglob("*") if path.is_file() and path.name != "filling"}


def test_a_full_disk_is_a_sentence_and_changes_no_file_and_a_second_pull_finishes(
    server: MetricsServer, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    written(url_of(server), *NAMES)
    assert loadgen("slo", "pull", "--from", "1h").exit_code == ExitCode.PASSED
    before = files(history)

    with filled(history):
        failed = loadgen("slo", "pull", "--from", "8h")
        left = files(history)
    again = loadgen("slo", "pull", "--from", "8h")

    assert failed.exit_code == ExitCode.FLEET, failed.output
    assert "No space left on device" in failed.output
    assert left == before
    assert again.exit_code == ExitCode.PASSED, again.output
    assert {name: len(slices) >= 94 for name, slices in read(history).items()} == dict.fromkeys(NAMES, True)


def test_ctrl_c_during_a_pull_leaves_whole_files_and_a_second_pull_finishes(
    server: MetricsServer, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    written(url_of(server), *NAMES)
    assert loadgen("slo", "pull", "--from", "1h").exit_code == ExitCode.PASSED
    before, answer, asked = files(history), server.answer, len(server.requests)
    server.hang()

    with started("slo", "pull", "--from", "8h", runs_dir=tmp_path / "runs") as pull:
        deadline = time.monotonic() + 30
        while len(server.requests) == asked and time.monotonic() < deadline:
            time.sleep(0.02)
        pull.send_signal(signal.SIGINT)
        said, _ = pull.communicate(timeout=30)
    server.answer = answer
    left = files(history)
    again = loadgen("slo", "pull", "--from", "8h")

    assert pull.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert left == before
    assert again.exit_code == ExitCode.PASSED, again.output
    assert {name: len(slices) >= 94 for name, slices in read(history).items()} == dict.fromkeys(NAMES, True)
