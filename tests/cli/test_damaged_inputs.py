"""Files that people and sources write, and answers of people in the history, are damaged in turn.

As in `test_damaged_history.py`: a sentence with the file, or with what is left out, and never a better answer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli
from tests.support.made_evidence import GOOD, PROMISES, TOTAL, WEEK, made_history
from tests.support.sinks import http_receiver

KINDS: Final = {
    "signed": "history/events/*-signed-*.json",
    "checked": "history/events/*-checked-*.json",
    "anomaly": "history/events/*-anomaly-*.json",
    "published": "history/events/*-published-*.json",
    "notices": "history/notices/status-*.json",
    "promises": "slos/login.yaml",
    "programme": "programme.toml",
    "csv": "counts.csv",
    "ledger": "history/slis/*/*.parquet",
}
COMMANDS: Final = {
    "status": ("slo", "status", "--notify"),
    "decide": ("decide", "checkout", "--release", "v412", "--no-record"),
    "evidence": ("evidence", "--check", WEEK),
    "report": ("slo", "report", "--no-record", "--publish", "--week", f"{datetime.now(UTC):%G-W%V}"),
    "board": ("board",),
    "anomaly": ("slo", "anomaly", "list", "slos/login.yaml"),
    "pull": ("slo", "pull", "slos/login.yaml"),
}
"""Without damage, the exit code of each is 0."""
READ: Final = {
    "signed": {"decide", "evidence", "report"},
    "checked": {"decide"},
    "anomaly": {"anomaly", "report"},
    "published": {"report"},
    "notices": {"status"},
    "promises": {"status", "decide", "report", "board", "anomaly", "pull"},
    "programme": {"status", "decide", "report", "board", "anomaly", "pull"},
    "csv": {"pull"},
    "ledger": {"status", "evidence", "report", "board", "anomaly", "pull"},
}
"""The commands that read a kind: each names the file."""
FAILS: Final = {
    "signed": {"decide"},
    "checked": {"decide"},
    "anomaly": {"anomaly"},
    "promises": READ["promises"],
    "programme": READ["programme"],
    "csv": {"pull"},
    "ledger": {"status", "evidence", "anomaly"},
}
"""The commands whose exit code is not 0 then. The others state what is left out: a page is made whatever it shows, and
a message or a board without --check is no verdict."""
FOREIGN: Final = b'{"format": 1, "hello": ["world"]}'


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


def other_bytes(data: bytes) -> bytes:
    at = len(data) // 2 if data.startswith(b"PAR1") else 0  # nothing reads the first bytes of a Parquet file
    return data[:at] + b"\x00\xff\xfe" + data[at + 3 :]


def foreign(data: bytes) -> bytes:
    return FOREIGN


def newer(data: bytes) -> bytes:
    return data.replace(b'"format": 1', b'"format": 99', 1).replace(b"openslo/v1", b"openslo/v99")


Damage = Callable[[bytes], bytes]
DAMAGES: Final[tuple[Damage, ...]] = (torn, empty, other_bytes, foreign, newer)
NOT_SEEN: Final = {
    # Half of a file of tables, and an empty one, are files of fewer tables. Without a forecast, nothing is GO.
    ("programme", torn),
    ("programme", empty),
    # Neither has a format.
    ("programme", newer),
    ("csv", newer),
    # tests/cli/test_damaged_history.py writes this one in the newer format.
    ("ledger", newer),
}
ALL: Final = [(kind, damage) for kind in KINDS for damage in DAMAGES if (kind, damage) not in NOT_SEEN]
SOME: Final = [
    next((kind, damage) for damage in (*DAMAGES[n % 5 :], *DAMAGES) if (kind, damage) not in NOT_SEEN)
    for n, kind in enumerate(KINDS)
]
"""For each kind one damage. All of them are a slow test."""


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def promise(name: str) -> str:
    text = PROMISES.partition("---\n")[0].replace("checkout", name).format(good=GOOD, total=TOTAL)
    return text.replace("annotations: {", "annotations: {loadgen.dev/source: prod, ")


@pytest.fixture(scope="module")
def channel() -> Iterator[str]:
    with http_receiver(status=204) as receiver:
        yield f'[notify.team]\nkind = "webhook"\nurl = "{receiver.url}"\n'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, channel: str) -> Path:
    """A folder with a history in which all is well, and with each kind of file."""
    folder = tmp_path_factory.mktemp("whole")
    made = made_history(folder, is_good=True)
    first = made.end // 3_600 - 21 * 24
    total = np.random.default_rng(1).poisson(400, 21 * 24)
    total[100] *= 5
    hours = [Slice("login-fast", 3_600 * (first + n), 3_600, t, t, 0) for n, t in enumerate(total.tolist())]
    last = made.end // 3_600 * 3_600
    refunds = [Slice("refund-fast", last - 3_600 * n, 3_600, 0, 400, 0) for n in range(1, 24)]
    Ledger.open(made.url).write("prod", [*hours, *refunds])
    rows = [f"{(made.end - 7_200) // 300 * 300 + 300 * n},login-fast,33,33" for n in range(12)]
    (folder / "counts.csv").write_text("\n".join(["time[unix s],slo,good,total", *rows, ""]))
    with (folder / "programme.toml").open("a") as file:
        file.write('[sources.prod]\nkind = "csv"\nfile = "counts.csv"\n[launch]\nitems = ["rollback"]\n')
        file.write('[publish]\nto = "out"\nchannels = ["team"]\n')
    (folder / "loadgen.toml").write_text(channel)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("LOADGEN_STORE", raising=False)
        # A promise that was not kept, and is gone: the file of notices remembers it.
        Path("slos/refund.yaml").write_text(promise("refund"))
        assert loadgen("slo", "status", "--notify").exit_code == 1
        Path("slos/refund.yaml").unlink()
        Path("slos/login.yaml").write_text(promise("login"))
        found = json.loads(loadgen("slo", "anomaly", "list", "--format", "json").stdout)["finds"][0]["id"]
        for words in (
            f"slo anomaly accept {found} --because sale --until 2999-01-01",
            "decide --check rollback --release v412 --by maria",
            "decide --sign D-1 --by maria",
            " ".join(COMMANDS["report"]),
        ):
            assert loadgen(*words.split()).exit_code == 0, words
    return folder


def copied(template: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(template, to)
    monkeypatch.chdir(to)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)


def damaged(kind: str, damage: Damage) -> str:
    """Damage the largest file of a kind, and return its name in messages."""
    file = max(Path().glob(KINDS[kind]), key=lambda one: one.stat().st_size)
    data = file.read_bytes()
    assert damage(data) != data
    file.write_bytes(damage(data))
    return str(file).removeprefix("history/")


def check(kind: str, damage: Damage, commands: Iterable[str]) -> None:
    name = damaged(kind, damage)
    for command in commands:
        found = loadgen(*COMMANDS[command])
        if command in READ[kind]:
            assert name in found.output, (command, found.output)
        if command in FAILS.get(kind, ()):
            assert found.exit_code in (1, 2, 3), (command, found.output)
        else:
            assert found.exit_code == 0, (command, found.output)


def test_without_damage_all_is_well(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(template, tmp_path / "whole", monkeypatch)
    done = {command: loadgen(*words) for command, words in COMMANDS.items()}
    assert {command: one.exit_code for command, one in done.items()} == dict.fromkeys(COMMANDS, 0), done


@pytest.mark.parametrize(("kind", "damage"), SOME)
def test_a_damaged_file_is_named_by_each_command_that_reads_it(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Damage
) -> None:
    copied(template, tmp_path / "damaged", monkeypatch)
    check(kind, damage, [one for one in COMMANDS if one in READ[kind]])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "damage"), ALL)
def test_every_damage_of_every_kind_is_named_by_each_command_that_reads_it(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Damage
) -> None:
    copied(template, tmp_path / "damaged", monkeypatch)
    check(kind, damage, COMMANDS)


def test_a_refusal_that_cannot_be_read_never_makes_a_go(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The item was confirmed before, and then refused."""
    copied(template, tmp_path / "refused", monkeypatch)
    because = ("--because", "the old version does not start", "--by", "paul")
    assert loadgen("decide", "--refuse", "rollback", "--release", "v412", *because).exit_code == 0
    refused = loadgen(*COMMANDS["decide"])
    newest = sorted(Path("history/events").glob("*-checked-*.json"))[-1]
    newest.write_bytes(newest.read_bytes()[:40])

    damaged = loadgen(*COMMANDS["decide"])

    assert (refused.exit_code, damaged.exit_code) == (1, 3), damaged.output
    assert newest.name in damaged.output
