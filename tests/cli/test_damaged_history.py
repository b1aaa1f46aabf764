"""Each kind of file of a history is damaged in turn. Commands answer with sentences, and never with a better answer.

A damaged file of a *good* history (all kept, GO) may leave the answer as it was, if the answer does not need the file.
A damaged file of a *bad* history (a promise broken, NO-GO) must not make it good.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.history.store import parquet_run
from loadgen.programme.ledger import ledger_file
from loadgen_controller import cli
from tests.support.made_evidence import WEEK, Made, made_history

KINDS: Final = {
    "ledger": "slis/*/*.parquet",
    "run": "runs/*/*.parquet",
    "verdict": "events/*-verdict-*.json",
    "control": "events/*-control-*.json",
    "pinned": "events/*-pinned-*.json",
    "excluded": "events/*-excluded-*.json",
    "recommended": "events/*-recommended-*.json",
    "overridden": "events/*-overridden-*.json",
    "study": "studies/C-1.json",
    "page": "programme/weeks/*.json",
}
COMMANDS: Final = {
    "status": ("slo", "status"),
    "decide": ("decide", "checkout", "--release", "v412", "--no-record"),
    "evidence": ("evidence", "--check", WEEK),
}
NEEDS: Final = {
    "status": {"ledger", "excluded"},
    "decide": {"run", "verdict", "control", "pinned", "study"},
    "evidence": {"ledger", "excluded", "page", "verdict", "recommended", "study"},
}
"""The kinds that the answer of each command depends on: a damaged one must not leave it good."""


def torn(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    return b""


def foreign(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    if not data.startswith(b"PAR1"):
        return b'{"format": 1, "hello": ["world"]}'
    file = io.BytesIO()
    pq.write_table(pa.table({"slo": ["a"], "good": [1.5]}), file)
    return file.getvalue()


def flipped(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :]


def newer(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    if not data.startswith(b"PAR1"):
        return data.replace(b'"format": 1', b'"format": 99', 1)
    if b"missing_s" in data:
        read = ledger_file.from_parquet(data)
        monkeypatch.setattr(ledger_file, "FORMAT", 99)
        written = ledger_file.to_parquet(*read)
    else:
        run = parquet_run.from_parquet(data, is_whole=True)
        monkeypatch.setattr(parquet_run, "FORMAT", 99)
        written = parquet_run.to_parquet(run)
    monkeypatch.undo()
    return written


Damage = Callable[[bytes, pytest.MonkeyPatch], bytes]
DAMAGES: Final[tuple[Damage, ...]] = (torn, empty, foreign, newer, flipped)
ALL: Final = [(kind, damage) for kind in KINDS for damage in DAMAGES]
SOME: Final = [(kind, DAMAGES[n % 4]) for n, kind in enumerate(KINDS)]
"""For each kind one damage. All of them are a slow test."""


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2, 3, 4), result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Made]:
    return {is_good: made_history(tmp_path_factory.mktemp("made"), is_good=is_good) for is_good in (True, False)}


def folder_of(made: Made, to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made.folder, to)
    monkeypatch.chdir(to)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return to / "history"


def damaged(history: Path, kind: str, damage: Damage) -> str:
    """Damage a file of a kind, the one that the answers need most, and return its name."""
    files = sorted(history.glob(KINDS[kind]))
    # Soon after midnight, the newest file of the ledger has only some minutes.
    file = max(files, key=lambda file: file.stat().st_size) if kind == "ledger" else files[-1]
    with pytest.MonkeyPatch.context() as patch:
        data = damage(file.read_bytes(), patch)
    assert data != file.read_bytes()
    file.write_bytes(data)
    return str(file.relative_to(history))


def checked(
    templates: dict[bool, Made],
    to: Path,
    kind: str,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    commands: Container[str] = tuple(COMMANDS),
) -> None:
    for is_good, made in templates.items():
        history = folder_of(made, to / str(is_good), monkeypatch)
        name = damaged(history, kind, damage)
        for command, args in COMMANDS.items():
            if command not in commands or (not is_good and command == "evidence"):
                continue  # a page is whole or not, whatever it reports
            found = loadgen(*args)
            # Events have no checksum, so a flipped bit may only change a text; in a run it may lie in a part of the
            # file that is not read.
            is_seen = damage is not flipped or kind in ("ledger", "page")
            if kind in NEEDS[command] and is_seen:
                assert found.exit_code != ExitCode.PASSED, (command, name, found.output)
                assert name in found.output, (command, name, found.output)
            if not is_good:
                assert found.exit_code != ExitCode.PASSED, (command, name, found.output)


def test_without_damage_one_history_is_good_and_the_other_bad(
    templates: dict[bool, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def codes(is_good: bool) -> Iterator[int]:
        folder_of(templates[is_good], tmp_path / str(is_good), monkeypatch)
        return (loadgen(*args).exit_code for args in COMMANDS.values())

    assert list(codes(True)) == [0, 0, 0]
    assert list(codes(False)) == [1, 1, 0]


@pytest.mark.parametrize(("kind", "damage"), SOME)
def test_a_damaged_file_gives_a_sentence_and_never_a_better_answer(
    templates: dict[bool, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Damage
) -> None:
    asked = [command for command, needed in NEEDS.items() if kind in needed]
    is_good = bool(asked)
    checked({is_good: templates[is_good]}, tmp_path, kind, damage, monkeypatch, asked or ["decide"])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "damage"), ALL)
def test_every_damage_of_every_kind_gives_a_sentence_and_never_a_better_answer(
    templates: dict[bool, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Damage
) -> None:
    checked(templates, tmp_path, kind, damage, monkeypatch)
