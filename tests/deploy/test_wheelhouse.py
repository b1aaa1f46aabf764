"""A wheelhouse is named by its list, and the list names every wheel by its hash."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.aws import isolated
from tests.support.s3 import ACCESS, S3, SECRET, running_s3
from tools.wheelhouse import LOCK, lay_out, main

OTHER = "other==1.0 \\\n    --hash=sha256:00\n"


def made(folder: Path, content: bytes = b"a wheel") -> Path:
    folder.mkdir()
    own, other = folder / "loadgen-0.1.0-py3-none-any.whl", folder / "other-1.0-py3-none-any.whl"
    own.write_bytes(content)
    other.write_bytes(b"another")
    return lay_out(OTHER, own, [other], folder / "into")


def test_the_folder_is_called_by_the_sha256_of_the_list_and_the_list_has_our_own_wheel(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    text = (folder / "requirements.txt").read_bytes()
    assert folder.name == hashlib.sha256(text).hexdigest()
    assert text.decode() == OTHER + f"loadgen==0.1.0 --hash=sha256:{hashlib.sha256(b'a wheel').hexdigest()}\n"
    with tarfile.open(folder / "wheels.tar") as tar:
        assert tar.getnames() == ["loadgen-0.1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]


def test_the_same_wheels_make_the_same_bytes_and_others_another_name(tmp_path: Path) -> None:
    first, second, third = made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", b"changed")
    assert first.name == second.name != third.name
    assert (first / "wheels.tar").read_bytes() == (second / "wheels.tar").read_bytes()


def test_what_machines_install_is_what_was_tested_and_names_no_index() -> None:
    text, tested = LOCK.read_text(), Path("requirements.lock").read_text()
    assert "://" not in text
    pins = [line.removesuffix("\\").strip() for line in text.splitlines() if line[:1].isalnum()]
    assert len(pins) > 20
    for pin in pins:
        wanted = Requirement(pin)
        assert f"\n{wanted.name}{wanted.specifier}" in tested, pin


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    with running_s3() as state:
        isolated(monkeypatch, tmp_path, state.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield state


def send(monkeypatch: pytest.MonkeyPatch, into: Path, bucket: str = "loads") -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["wheelhouse", "--into", str(into), "--send", bucket])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_what_was_made_is_sent_to_where_machines_look_for_it_the_list_last_and_once(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(tmp_path / "a")
    assert send(monkeypatch, folder.parent) == 0
    where = f"wheelhouse/{folder.name}"
    assert s3.sent("PUT") == [f"/loads/{where}/wheels.tar", f"/loads/{where}/requirements.txt"]
    for name in ("wheels.tar", "requirements.txt"):
        assert s3.buckets["loads"][f"{where}/{name}"].data == (folder / name).read_bytes()

    s3.requests.clear()
    assert send(monkeypatch, folder.parent) == 0
    assert s3.sent("PUT") == []
    assert f"{folder.name}: already uploaded" in capsys.readouterr().out


def test_nothing_is_sent_where_there_is_nothing_or_not_what_its_name_says(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(monkeypatch, tmp_path / "none") == 2
    folder = made(tmp_path / "a")
    with (folder / "requirements.txt").open("a") as file:
        file.write("more==1.0\n")
    assert send(monkeypatch, folder.parent) == 2
    assert "does not match its folder's name" in capsys.readouterr().err
    assert s3.requests == []


def test_a_bucket_that_is_not_there_or_has_no_such_name_is_told(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = made(tmp_path / "a").parent
    assert send(monkeypatch, into, "s3://loads") == 2
    assert "invalid S3 address" in capsys.readouterr().err
    assert send(monkeypatch, into, "others") == 5
    assert "check the bucket's name" in capsys.readouterr().err
