"""The page of a real run: agents, load, a refresh in mid-run, deeds, and the same figures as the report has."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import encode
from tests.cli.test_commands import loadgen
from tests.integration.test_stopping import end_of
from tests.support.page_client import PageClient
from tests.support.run import DATA, ends_with, run_folder, started
from tests.support.target import running_target

ADJUSTED = f"{DATA}/adjusted.py"


def address_of(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    for line in run.stdout:
        if (found := re.search(r"page: (\S+)", line)) is not None:
            return found[1]
    raise AssertionError("no page")


@pytest.fixture
def paged(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = ("run", f"{ADJUSTED}:paged", "--ui")
    with running_target() as target, started(*command, "--target", target.url, runs_dir=tmp_path) as run:
        yield run, address_of(run)


async def watched(address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a page has in the end that stayed, and one that lost its connection each second look."""
    async with PageClient(address) as stayed, PageClient(address) as torn:

        async def stay() -> dict[str, Any]:
            return await stayed.follow(await stayed.history())

        async def tear() -> dict[str, Any]:
            known = await torn.history()
            while known["slots"]["count"] < 4:
                known = await torn.follow(known, looks=2)
            return await torn.follow(known)

        async def scale() -> None:
            while (await stayed.history())["slots"]["count"] < 2:
                await asyncio.sleep(0.2)
            assert (await stayed.post("scale", b'{"factor": 1.5}')).json()["lines"][0].startswith("scaled")

        both, _ = await asyncio.gather(asyncio.gather(stay(), tear()), scale())
        return both[0], both[1]


def test_a_page_has_what_the_report_has_though_its_connection_was_lost_again_and_again(
    tmp_path: Path, paged: tuple[subprocess.Popen[str], str]
) -> None:
    run, address = paged
    stayed, torn = asyncio.run(watched(address))
    code, out, summary = end_of(run, tmp_path)
    assert ends_with(code, summary, 0), out

    assert stayed == torn
    told = json.loads(encode(document_of(open_run(run_folder(tmp_path)))))
    for key in ("slots", "response", "errors", "heatmap", "spectrum"):
        assert stayed[key] == told[key], key
    for row, same in zip(stayed["rows"], told["rows"], strict=True):
        for name in row.keys() - {"ci_ms"}:
            assert row[name] == same[name], (row["kind"], name)
    assert stayed["verdict"] == told["verdict"]
    assert stayed["verdict"]["result"] == summary["result"]
    assert [mark["kind"] for mark in stayed["marks"]] == ["scale"]
    assert sum(stayed["slots"]["requests"]) == summary["requests"]["finished"]


def test_a_page_that_never_reads_does_not_hold_up_the_run(
    tmp_path: Path, paged: tuple[subprocess.Popen[str], str]
) -> None:
    run, address = paged
    place, _, token = address.partition("#token=")
    host, _, port = place.split("/")[2].partition(":")
    run_id = place.rpartition("/")[2]
    with socket.create_connection((host, int(port))) as dead:
        heads = (f"Host: {host}", "Last-Event-ID: 0", f"Authorization: Bearer {token}", "", "")
        dead.sendall("\r\n".join((f"GET /api/runs/{run_id}/events HTTP/1.1", *heads)).encode())
        code, out, summary = end_of(run, tmp_path)
    assert ends_with(code, summary, 0), out


def test_a_busy_port_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        result = loadgen("run", ADJUSTED, "--ui-at", place, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 5
    assert f"cannot listen for the page at {place}" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_controllers_page_for_everybody_is_refused(tmp_path: Path) -> None:
    assert loadgen("keys", "init", tmp_path / "keys").exit_code == 0
    assert loadgen("keys", "agent", tmp_path / "keys", "one").exit_code == 0
    result = loadgen("controller", "--keys", tmp_path / "keys", "--ui", "0.0.0.0:0", "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 2
    assert "no TLS and no tokens" in result.output


def test_a_page_for_everybody_is_refused_with_what_else_is_wrong(tmp_path: Path) -> None:
    result = loadgen("run", ADJUSTED, "--ui-at", "0.0.0.0:0", "--rate", "no rate", "--runs-dir", tmp_path)
    assert result.exit_code == 2
    assert "no TLS and no tokens" in result.output
