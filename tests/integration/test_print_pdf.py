"""Printing by Chromium when it is missing, fails, hangs, or writes nonsense: a sentence, no file, nothing left over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from loadgen.errors import StorageError
from loadgen.find_chromium import VARIABLE, find_chromium
from loadgen.programme.pages.pdf import print_pdf

_TO = 'for one in "$@"; do case $one in --print-to-pdf=*) to=${one#--print-to-pdf=};; esac; done\n'
_PDF = 'printf "%%PDF-1.4\\n1 0 obj\\n%%%%EOF\\n" > "$to"\n'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands in for Chromium. Tests write its script."""
    file = tmp_path / "chromium"
    monkeypatch.setenv(VARIABLE, str(file))
    return file


def script(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{_TO}{text}")
    program.chmod(0o755)


def test_a_pdf_is_written_by_the_program_that_the_variable_names(program: Path, tmp_path: Path) -> None:
    script(program, f'echo "$@" > {tmp_path}/options; env > {tmp_path}/environment; {_PDF}')
    os.environ["A_SECRET_OF_OURS"] = "hunter2"
    try:
        assert print_pdf(b"<p>x", tmp_path / "week.pdf") == ""
    finally:
        del os.environ["A_SECRET_OF_OURS"]
    assert (tmp_path / "week.pdf").read_bytes().startswith(b"%PDF-1.4")
    options = (tmp_path / "options").read_text()
    assert "--disable-background-networking" in options
    assert "MAP * ~NOTFOUND" in options
    assert "page.html" in options
    assert ("--no-sandbox" in options) == (os.geteuid() == 0)
    assert "hunter2" not in (tmp_path / "environment").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo boom >&2; exit 3", "Chromium ended with code 3: boom"),
        ("kill -9 $$", "Chromium ended with code -9: it wrote no message"),
        ("exit 0", "Chromium wrote no PDF: it wrote no message"),
        (': > "$to"', "Chromium wrote no PDF"),
        ('echo "<html>" > "$to"', "not a complete PDF"),
        ('echo "%PDF-1.4" > "$to"', "not a complete PDF"),
        ("printf 'a \\033[31m red \\342\\200\\256 line' >&2; exit 1", "a \\x1b[31m red \\u202e line"),
        (f"{_PDF} echo FATAL:too long >&2; echo last >&2; exit 1", "FATAL:too long"),
    ],
)
def test_a_failed_print_is_a_sentence_and_leaves_the_old_file(
    program: Path, tmp_path: Path, text: str, said: str
) -> None:
    script(program, text)
    old = tmp_path / "week.pdf"
    old.write_bytes(b"of last week")
    why = print_pdf(b"<p>x", old)
    assert said in why
    assert why.startswith("No PDF: ")
    assert why.endswith("print it there: A4, landscape.")
    assert old.read_bytes() == b"of last week"


def test_a_program_that_hangs_is_ended_with_its_children(program: Path, tmp_path: Path) -> None:
    script(program, f"sleep 300 & echo $! > {tmp_path}/child; sleep 300")
    why = print_pdf(b"<p>x", tmp_path / "week.pdf", limit_s=1.0)
    assert "Chromium did not finish within 1 s" in why
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 30
    while _is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(child)


def test_without_chromium_the_sentence_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_chromium() == ""
    assert "no Chromium found. Install Chromium or set LOADGEN_CHROMIUM" in print_pdf(b"", tmp_path / "week.pdf")
    monkeypatch.setenv(VARIABLE, "/no/such\x1b[0m")
    assert 'names "/no/such\\x1b[0m", which is not a program' in print_pdf(b"", tmp_path / "week.pdf")
    assert not (tmp_path / "week.pdf").exists()


def test_a_file_that_cannot_be_written_is_an_error(program: Path, tmp_path: Path) -> None:
    script(program, _PDF)
    with pytest.raises(StorageError, match=r"cannot write .*week\.pdf: No such file or directory"):
        print_pdf(b"<p>x", tmp_path / "no" / "week.pdf")


def test_a_chromium_that_cannot_be_started_is_a_sentence(program: Path, tmp_path: Path) -> None:
    script(program, "exit 0")
    program.write_text("not a program for any system")
    assert "No PDF: " in print_pdf(b"<p>x", tmp_path / "week.pdf")


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
