"""What of the page is not ours is what its authors published, and nothing of the page fetches from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tools.vendor_js import INTEGRITY, ROOT, VENDOR, changed, unpack

PAGE = VENDOR.parent
OURS = sorted(path for path in PAGE.glob("*") if path.is_file())


def test_vendored_files_are_those_that_were_fetched() -> None:
    about = json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8"))

    assert changed(VENDOR) == []
    assert about["integrity"] == INTEGRITY
    # Known from an earlier fetch, by somebody else.
    assert about["sha256"]["uPlot.iife.min.js"].startswith("19c8d4c6ad88")
    assert about["sha256"]["uPlot.min.css"].startswith("df630c6a8d6f")
    assert "LICENSE" in about["sha256"]


def test_vendored_file_that_was_touched_is_named(tmp_path: Path) -> None:
    shutil.copytree(VENDOR, tmp_path / "vendor")
    script = tmp_path / "vendor" / "uPlot.iife.min.js"
    script.write_bytes(script.read_bytes() + b"\n")
    (tmp_path / "vendor" / "LICENSE").unlink()

    assert changed(tmp_path / "vendor") == ["uPlot.iife.min.js", "LICENSE"]


def test_package_of_another_sha512_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has sha512-"):
        unpack(b"another package", tmp_path / "vendor")

    assert not (tmp_path / "vendor").exists()


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_of_the_page_names_an_address(path: Path) -> None:
    # The one exception is the name of a language, by which the browser knows it; nothing is at that address.
    text = path.read_text(encoding="utf-8").replace('"http://www.w3.org/2000/svg"', "")

    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]", text)


def test_vendored_library_names_an_address_only_in_its_notice() -> None:
    script = (VENDOR / "uPlot.iife.min.js").read_text(encoding="utf-8")
    notice, rest = script.split("*/", 1)

    assert notice.startswith("/*!")
    assert not re.search(r"https?://", rest)
    assert not re.search(r"https?://|url\(|@import", (VENDOR / "uPlot.min.css").read_text(encoding="utf-8"))


def test_what_is_not_ours_is_listed() -> None:
    about = json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8"))

    assert f"| {about['version']} | {about['licence']}" in (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
