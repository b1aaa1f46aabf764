"""Each command of the programme on a full disk and after Ctrl-C, at each file that it writes.

Files that were there stay whole, a new file is whole or absent, the command ends with a sentence, and the same command
again finishes. A real full disk and real signals are in `test_cut_off_processes.py`.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.pages import pdf
from loadgen_controller import cli
from tests.support.failing_disk import MOMENTS, Failure, failing_disk
from tests.support.made_evidence import GOOD, PROMISES, TOTAL, made_history
from tests.support.sinks import http_receiver

FAILURES: Final[tuple[Failure, ...]] = ("full disk", "Ctrl-C")
WEEK: Final = ("--week", f"{datetime.now(UTC):%G-W%V}")
PUBLISH: Final = '[publish]\nto = "out"\n'


@dataclass(frozen=True, slots=True)
class Case:
    """A command. code: its exit code if nothing fails; on_full: where a part of the work is not done.

    replaced: names of files that the command replaces.
    """

    args: tuple[str, ...]
    code: int = ExitCode.PASSED
    on_full: tuple[int, ...] = (ExitCode.FLEET,)
    replaced: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    """Text that is appended to files first."""
    files: int = 1
    """The least number of files that it writes."""


CASES: Final = {
    "decide with page": Case(
        ("decide", "checkout", "--release", "v412", "--page", "page.html"), replaced=("page.html",), files=3
    ),
    "decide with template": Case(("decide", "checkout", "--release", "v412", "--template", "review.md", "--no-record")),
    "decide --publish": Case(
        ("decide", "checkout", "--release", "v412", "--publish"),
        on_full=(ExitCode.FLEET, ExitCode.PASSED),
        files=10,
        more={"programme.toml": PUBLISH},
    ),
    "decide --override": Case(
        ("decide", "--override", "D-1", "--because", "peak", "--until", "2999-01-01", "--by", "maria")
    ),
    "slo report": Case(
        ("slo", "report", *WEEK, "-o", "week.html", "-o", "week.json", "-o", "week.csv", "-o", "week.md"),
        replaced=("week.html",),
        files=5,
    ),
    "slo report --pdf": Case(("slo", "report", *WEEK, "--no-record", "--pdf", "week.pdf"), replaced=("week.pdf",)),
    "slo report --publish": Case(
        ("slo", "report", *WEEK, "--no-record", "--publish"),
        on_full=(ExitCode.FLEET, ExitCode.INCOMPLETE),
        files=10,
        more={"programme.toml": PUBLISH},
    ),
    "board -o": Case(
        ("board", "-o", "board.html", "-o", "board.csv", "-o", "board.json"), replaced=("board.html",), files=3
    ),
    "slo exclude": Case(("slo", "exclude", "--from", "2h", "--to", "1h", "--because", "maintenance", "--by", "maria")),
    "slo anomaly false": Case(
        ("slo", "anomaly", "false", "FIND", "--because", "the exporter counted twice", "--by", "maria")
    ),
    "slo status --notify": Case(
        ("slo", "status", "--notify"),
        code=ExitCode.FAILED,
        on_full=(ExitCode.FAILED,),
        files=2,
        more={"programme.toml": '[publish]\nchannels = ["team"]\n'},
    ),
    "slo new": Case(("slo", "new", "refund", "--threshold", "300ms")),
    "slo export": Case(("slo", "export", "--to", "sloth", "-o", "rules.yaml"), replaced=("rules.yaml",)),
    "slo import": Case(("slo", "import", "slos/shop.yaml", "-o", "imported.yaml"), replaced=("imported.yaml",)),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A folder with a history that is a GO for v412, and with a promise that is not kept. find: an unusual hour."""

    folder: Path
    find: str


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("cut-off")
    made = made_history(folder, is_good=True)
    login = PROMISES.partition("---\n")[0].replace("checkout", "login").format(good=GOOD, total=TOTAL)
    (folder / "slos/login.yaml").write_text(login)
    first = made.end // 3_600 - 21 * 24
    total = np.random.default_rng(1).poisson(400, 21 * 24 + 1)
    total[100] *= 5
    hours = [Slice("login-fast", 3_600 * (first + n), 3_600, t // 2, t, 0) for n, t in enumerate(total.tolist())]
    Ledger(place_of(made.url)).write("prod", hours[:-1])
    listed = CliRunner().invoke(
        cli.app, ["slo", "anomaly", "list", str(folder / "slos"), "--store", made.url, "--format", "json"]
    )
    return Template(folder, json.loads(listed.stdout)["finds"][0]["id"])


@pytest.fixture(autouse=True)
def _a_chromium_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_chromium", lambda: "chromium")
    monkeypatch.setattr(pdf, "_printed", lambda *_: (b"%PDF-1.4\n%%EOF\n", ""))
    monkeypatch.delenv("LOADGEN_STORE", raising=False)


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def check_whole(name: str, data: bytes) -> None:
    """Fail if a file is cut off."""
    match Path(name).suffix:
        case ".json":
            json.loads(data)
        case ".html":
            assert data.rstrip().endswith(b"</html>"), name
        case ".pdf":
            assert data.endswith(b"%%EOF\n"), name
        case ".parquet":
            pq.read_table(Path(name))
        case ".yaml":
            assert all(yaml.safe_load_all(data)), name
            assert data.endswith(b"\n"), name
        case suffix:
            assert suffix in (".md", ".csv"), f"{name}: a file that should not be there"
            assert data.endswith(b"\n"), name


def check_new(before: Mapping[str, bytes]) -> set[str]:
    """Fail if a file is gone, or a new or changed one is cut off. Return the names of the changed ones."""
    left = contents()
    assert before.keys() <= left.keys()
    changed = {name for name in before if left[name] != before[name]}
    for name in (left.keys() - before.keys()) | changed:
        check_whole(name, left[name])
    return changed


def prepared(case: Case, template: Template, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Copy the template, and return the arguments of the command."""
    shutil.copytree(template.folder, folder)
    monkeypatch.chdir(folder)
    for name, text in case.more.items():
        with Path(name).open("a") as file:
            file.write(text)
    for name in case.replaced:
        Path(name).write_text("old")
    return tuple(template.find if one == "FIND" else one for one in case.args)


def cut_off(case: Case, args: tuple[str, ...], at: int, failure: Failure, moment: str) -> None:
    """Run a command whose `at`-th file fails, check what is left, and run it again."""
    before = contents()
    with failing_disk(at, failure, moment) as writes:
        failed = loadgen(*args)

    assert writes.has_failed, (at, moment)
    if failure == "Ctrl-C":
        assert failed.exit_code == 128 + signal.SIGINT, failed.output
        assert "interrupted" in failed.output
    else:
        assert failed.exit_code in case.on_full, failed.output
        assert "No space left on device" in failed.output
    assert check_new(before) <= set(case.replaced)
    again = loadgen(*args)
    assert again.exit_code == case.code, again.output
    check_new(before)


def count_files(name: str, template: Template, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many files a command writes."""
    args = prepared(CASES[name], template, folder, monkeypatch)
    before = contents()
    with failing_disk(0) as writes:
        done = loadgen(*args)
    assert done.exit_code == CASES[name].code, done.output
    assert check_new(before) == set(CASES[name].replaced)
    return writes.count


@pytest.fixture(autouse=True)
def _channel(template: Template) -> Iterator[None]:
    with http_receiver(status=204) as receiver:
        text = f'[notify.team]\nkind = "webhook"\nurl = "{receiver.url}"\n'
        (template.folder / "loadgen.toml").write_text(text)
        yield


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_before_stays_whole_and_a_second_command_finishes(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    second = 2 if CASES[name].files > 1 else 1
    for at, failure in ((1, FAILURES[0]), (second, FAILURES[1])):
        args = prepared(CASES[name], template, tmp_path / failure, monkeypatch)
        cut_off(CASES[name], args, at, failure, "write")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_at_each_moment_of_each_file_what_was_written_stays_whole(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    count = count_files(name, template, tmp_path / "whole", monkeypatch)
    assert count >= CASES[name].files
    for at, failure, moment in product(range(1, count + 1), FAILURES, MOMENTS):
        args = prepared(CASES[name], template, tmp_path / f"{at} {failure} {moment}", monkeypatch)
        cut_off(CASES[name], args, at, failure, moment)
