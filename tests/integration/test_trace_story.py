"""The tutorial of traces on real processes: a run that fails, the query in which the time lies, a better shop."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.run import Finished, loadgen

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial-traces.md"
FAST = "20s"


@contextlib.contextmanager
def running(*command: str, folder: Path) -> Iterator[None]:
    with (folder / "out.log").open("a") as out:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        assert time.monotonic() < until, url
        time.sleep(0.1)


def write_blocks(folder: Path, shop: int, collector: int) -> None:
    text = TUTORIAL.read_text().replace("8099", str(shop)).replace("4318", str(collector))
    blocks = re.findall(r"^```(python|toml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {"shop.py": "python", "loadgen.toml": "toml", "search.py": "python"}
    assert [kind for kind, _ in blocks] == list(names.values())
    for name, (_, content) in zip(names, blocks, strict=True):
        (folder / name).write_text(content)
    with (folder / "loadgen.toml").open("a") as file:
        file.write(f'url = "http://127.0.0.1:{collector}"\n')


def causes(run: Finished) -> dict[str, object]:
    done = loadgen("trace", str(run.folder), runs_dir=run.runs_dir)
    assert done.exit_code in (0, 3), done.err
    found: dict[str, object] = json.loads((run.folder / "cause.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.quiet
def test_query_that_breaks_the_objective_is_found_and_the_next_version_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop, collector = free_ports(2)
    write_blocks(tmp_path, shop, collector)
    listen = ("-m", "loadgen_controller.cli", "trace", "collect", "--listen", f"127.0.0.1:{collector}")
    with running(*listen, folder=tmp_path):
        wait_for(f"http://127.0.0.1:{collector}/health")
        with running("shop.py", "1.0", folder=tmp_path):
            wait_for(f"http://127.0.0.1:{shop}/")
            before = loadgen("run", "search.py", runs_dir=tmp_path / "before")
            ranked = causes(before)["ranked"]
        with running("shop.py", "1.1", folder=tmp_path):
            wait_for(f"http://127.0.0.1:{shop}/")
            after = loadgen("run", "search.py", "--duration", FAST, runs_dir=tmp_path / "after")
    if before.summary["validity"]["verdict"] == "invalid":
        pytest.skip("this machine is busy: most requests are in unfit seconds")
    (objective,) = before.summary["slos"]
    assert objective["verdict"] == "failed"
    assert isinstance(ranked, list)
    assert ranked[0]["path"] == ["shop: GET /search", "shop: SELECT stock"]
    assert ranked[0]["kind"] == "more calls"
    assert ("app.hits", 20) in {(one["key"], one["value"]) for one in ranked[0]["attributes"]}
    assert ranked[0]["stays_first"] > 0.9
    (objective,) = after.summary["slos"]
    assert objective["verdict"] == "passed" or after.summary["validity"]["verdict"] == "invalid"
