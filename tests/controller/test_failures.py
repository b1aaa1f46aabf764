"""What failed first is in files that people can read; neither agents nor disks can make trouble with them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.deltas.exemplar import Failure, KeptFailure
from loadgen_controller.run.failure_files import FIRST, MAX_FILES, FailureFolder, file_name

FAILURE = Failure("shop", "pay", "POST /cart", "expect status", 0, 7, 1_000, 500, "got 500, expected 201", sent="POST")


def test_a_failure_is_a_file_that_sorts_and_says_what_is_in_it(tmp_path: Path) -> None:
    folder = FailureFolder(tmp_path / "failures", pytest.fail)
    folder.write("agent-1", "eu-west-1", [FAILURE])
    folder.write("agent-2", "us-east-1", [replace(FAILURE, request="", outcome="script KeyError")])
    folder.close()
    names = sorted(path.name for path in (tmp_path / "failures").iterdir())
    assert names == ["0001-POST_cart-expect_status-eu-west-1.json", "0002-shop-script_KeyError-us-east-1.json"]
    found = json.loads((tmp_path / "failures" / names[0]).read_text())
    assert (found["format"], found["number"], found["agent"], found["region"]) == (1, 1, "agent-1", "eu-west-1")
    assert (found["n"], found["detail"], found["sent"]) == (7, "got 500, expected 201", "POST")


def test_there_is_no_folder_where_nothing_failed(tmp_path: Path) -> None:
    folder = FailureFolder(tmp_path / "failures", pytest.fail)
    folder.write("a", "eu", [])
    folder.close()
    assert not (tmp_path / "failures").exists()


def test_of_each_agent_and_kind_the_first_few_are_kept(tmp_path: Path) -> None:
    folder = FailureFolder(tmp_path / "failures", pytest.fail)
    for n in range(20):
        for agent in ("a", "b"):
            folder.write(agent, "eu", [replace(FAILURE, n=n), replace(FAILURE, n=n, outcome="timeout")])
    folder.close()
    assert len(list((tmp_path / "failures").iterdir())) == folder.kept == 2 * 2 * FIRST
    assert folder.left_out == 2 * 2 * (20 - FIRST)


def test_any_number_of_kinds_ends_at_the_cap_and_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    folder = FailureFolder(tmp_path / "failures", said.append)
    folder.write("a", "eu", [replace(FAILURE, request=f"GET /{n}") for n in range(MAX_FILES + 7)])
    folder.close()
    assert len(list((tmp_path / "failures").iterdir())) == MAX_FILES
    assert folder.left_out == 7
    assert set(said) == {"1,000 failures were written as files; later ones are only counted"}


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_name_leads_out_of_the_folder(request_name: str, outcome: str, region: str) -> None:
    name = file_name(KeptFailure(1, region, "a", replace(FAILURE, request=request_name, outcome=outcome)))
    assert name == os.path.basename(name)  # noqa: PTH119
    assert name.startswith("0001")
    assert name.endswith(".json")
    assert name.isascii()
    assert len(name) < 200


def test_what_utf8_cannot_hold_is_written_all_the_same(tmp_path: Path) -> None:
    folder = FailureFolder(tmp_path / "failures", pytest.fail)
    folder.write("../../a", "../eu", [replace(FAILURE, received="\ud800 \x00", request="../../../etc/passwd")])
    folder.close()
    (path,) = (tmp_path / "failures").iterdir()
    assert path.name == "0001-etc_passwd-expect_status-eu.json"
    assert json.loads(path.read_text())["received"] == "? \x00"


def test_a_disk_that_refuses_is_a_notice_and_no_more_is_tried(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("a file where the folder should be")
    said: list[str] = []
    folder = FailureFolder(tmp_path / "failures", said.append)
    folder.write("a", "eu", [FAILURE])
    folder.close()
    assert len(said) == 1
    assert said[0].startswith("no more failures are written: cannot write")
    folder.write("a", "eu", [FAILURE])
    assert folder.left_out == 1
