"""A wheelhouse is named by its list, and the list names every wheel by its hash."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from packaging.requirements import Requirement

from tools.wheelhouse import LOCK, lay_out

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
