"""The mode of a file that a person exports, and that a symbolic link cannot be put in its way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.report.html import write_html
from loadgen_controller.screen.output_file import write


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_exported_file_follows_the_umask_alone(tmp_path: Path) -> None:
    write(tmp_path / "report.json", b"{}")
    write_html({}, tmp_path / "report.html")
    assert (mode(tmp_path / "report.json"), mode(tmp_path / "report.html")) == (0o640, 0o640)


def test_a_report_in_the_folder_of_a_run_is_as_private_as_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "manifest.json").touch()
    write(tmp_path / "report.html", b"")
    assert mode(tmp_path / "report.html") == 0o600
    tmp_path.chmod(0o750)
    write(tmp_path / "report.html", b"")
    assert mode(tmp_path / "report.html") == 0o640


def test_a_file_beside_the_exported_one_is_not_written_through(tmp_path: Path) -> None:
    """In /tmp anybody may put a link where an unfinished file is expected."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".report.html.part", "report.html.part", f".report.html.{os.getpid()}.tmp", ".report.html.tmp"):
        (tmp_path / name).symlink_to(victim)
    write(tmp_path / "report.html", b"new")
    write_html({}, tmp_path / "report.html")
    assert victim.read_text() == "mine"


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def failing(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(Exception, match="No space left"):
        write(path, b"new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
