"""The commands of the programme on a history in a bucket without rights: a sentence, and never an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen_controller import cli
from tests.support.aws import isolated
from tests.support.made_evidence import GOOD, PROMISES, TOTAL
from tests.support.s3 import ACCESS, S3, SECRET, running_s3

READING: Final = (
    "slo status",
    "slo report",
    "slo pull",
    "slo anomaly list",
    "decide checkout --release v412 --no-record",
    "board",
    "evidence --check 2026-W30",
)
WRITING: Final = (
    "slo exclude --from 2h --to 1h --because maintenance --by maria",
    "decide checkout --release v412",
    "decide --check rollback --release v412 --by maria",
)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """A bucket, and a folder with promises and a checklist."""
    with running_s3() as state:
        isolated(monkeypatch, tmp_path, state.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "slos").mkdir()
        (tmp_path / "slos/shop.yaml").write_text(PROMISES.format(good=GOOD, total=TOTAL))
        (tmp_path / "programme.toml").write_text('[launch]\nitems = ["rollback"]\n')
        yield state


def loadgen(command: str) -> Result:
    result = CliRunner().invoke(cli.app, [*command.split(), "--store", "s3://loads/perf"], env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_history_that_must_not_be_read_gives_no_answer(s3: S3) -> None:
    s3.denied = {"GET", "HEAD", "PUT"}
    for command in READING:
        done = loadgen(command)
        assert done.exit_code == ExitCode.FLEET, (command, done.output)
        assert "AWS returned AccessDenied" in done.output, (command, done.output)
    assert s3.keys() == []


def test_a_history_that_must_not_be_written_keeps_nothing(s3: S3) -> None:
    s3.denied = {"PUT"}
    for command in WRITING:
        done = loadgen(command)
        assert done.exit_code == ExitCode.FLEET, (command, done.output)
        assert "AWS returned AccessDenied" in done.output, (command, done.output)
    assert s3.keys() == []
