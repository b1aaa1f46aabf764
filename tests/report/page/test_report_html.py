"""report.html as it is written: one file that carries all it needs, and that data cannot break out of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import StorageError
from loadgen.report.html import MODULES, PAGE, html, script, write_html
from tests.support.documents import HOSTILE, document, empty, hour

node = pytest.mark.skipif(shutil.which("node") is None, reason="no node here")


def held(whole: bytes, name: str) -> Any:
    found = re.search(rb'<script type="application/octet-stream" id="%s">([^<]*)</script>' % name.encode(), whole)
    assert found is not None
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def test_report_holds_the_document_as_it_was_given() -> None:
    given = document(slots=30, hostile=True, censored=(3,))

    assert held(html(given), "history") == given


def test_report_over_a_baseline_holds_both() -> None:
    ours, theirs = document(slots=20, seed=1), document(slots=30, seed=2)

    whole = html(ours, baseline=theirs)

    assert (held(whole, "history"), held(whole, "baseline")) == (ours, theirs)


def test_names_out_of_the_document_are_not_in_the_markup() -> None:
    given = document(slots=10, hostile=True)
    given["run"]["id"], given["run"]["title"] = HOSTILE[0], ""

    whole = html(given).decode()

    assert whole.count("window.hacked") == 1
    assert "<title>loadgen &lt;/script&gt;&lt;script&gt;window.hacked = 1&lt;/script&gt;</title>" in whole
    assert whole.count("<script") == whole.count("</script>") == 3


def test_policy_lets_only_the_files_own_scripts_and_style_run() -> None:
    whole = html(document(slots=5)).decode()

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', whole)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    hashes = {
        kind: [
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", whole, re.DOTALL)
        ]
        for kind, tag in (("script-src", "script"), ("style-src", "style"))
    }
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == hashes["script-src"]
    assert rules["style-src"].split() == hashes["style-src"]
    assert len(hashes["script-src"]) == 2
    assert "unsafe" not in policy[1]
    assert " style=" not in whole


def test_report_of_an_hour_of_20_names_is_below_a_megabyte(tmp_path: Path) -> None:
    write_html(hour(), tmp_path / "report.html")

    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_report_of_the_same_document_is_the_same() -> None:
    assert html(document(slots=20)) == html(document(slots=20))


def test_report_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()

    with pytest.raises(StorageError, match=r"cannot write .*report\.html"):
        write_html(empty(), tmp_path / "report.html")

    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_into_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        write_html(empty(), tmp_path / "none" / "report.html")


def test_joined_script_has_no_import_and_no_export_left() -> None:
    assert not re.search(r"^\s*(import|export)\b", script(), re.MULTILINE)


def test_modules_stand_after_those_that_they_import() -> None:
    for place, name in enumerate(MODULES):
        needed = set(re.findall(r'from "\./([a-z]+\.js)"', (PAGE / name).read_text(encoding="utf-8")))
        assert needed <= set(MODULES[:place]), name


@node
def test_joined_script_is_javascript(tmp_path: Path) -> None:
    # Two modules with a top-level name in common would be an error here.
    (tmp_path / "report.js").write_text(script(), encoding="utf-8")

    done = subprocess.run(["node", "--check", str(tmp_path / "report.js")], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@node
@pytest.mark.parametrize("path", sorted(PAGE.glob("*.js")), ids=lambda path: path.name)
def test_each_module_of_the_page_is_javascript(path: Path, tmp_path: Path) -> None:
    module = tmp_path / f"{path.stem}.mjs"
    module.write_bytes(path.read_bytes())

    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(PAGE.glob("*.js")), ids=lambda path: path.name)
def test_page_takes_text_only_as_text(path: Path) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style",
        path.read_text(encoding="utf-8"),
    )


def test_page_has_no_script_and_no_style_of_its_own_in_the_markup() -> None:
    page = (PAGE / "index.html").read_text(encoding="utf-8")

    assert re.findall(r"<script[^>]*>(?!</script>)", page) == []
    assert "<style" not in page
    assert not re.search(r"\son[a-z]+=|\sstyle=", page)
