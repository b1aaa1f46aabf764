"""Thirteen SDKs in their newest versions, as they are: each request that the target got is a row with its outcome.

The SDKs are installed into an environment of this test, because they need newer versions of libraries than loadgen does
(`openai` 3 needs httpx2). It takes 300 MB and some minutes. Without a package index the test is skipped, with the
installer's own reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.sdk_matrix import ITERATIONS, MODES, PACKAGES, SDKS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program has printed, by SDK."""
    python = _environment(tmp_path_factory.mktemp("sdks"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [python, "-m", "tests.support.sdk_matrix"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-4000:]
    told: dict[str, Any] = json.loads(run.stdout)
    print({name: one["version"] for name, one in told.items()})
    return told


def _environment(folder: Path) -> str:
    """Return the Python of an environment with the SDKs. `LOADGEN_SDK_PYTHON` names one that exists."""
    if given := os.environ.get("LOADGEN_SDK_PYTHON"):
        return given
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    python = str(folder / "bin/python")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], "h2", "trustme", "pytest", *PACKAGES]
    install = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *needed],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if install.returncode != 0:
        pytest.skip(f"the SDKs cannot be installed: {install.stderr.strip().splitlines()[-1][:300]}")
    return python


OUTCOME = {"ok": "ok", "slow": "ok", "stream": "ok", "busy": "http 429", "broken": "http 500", "closed": "reset"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sdk", SDKS)
def test_each_request_that_the_target_got_is_a_row(sdk: str, mode: str, found: dict[str, Any]) -> None:
    if mode == "stream" and not SDKS[sdk].streams:
        pytest.skip(f"{sdk} has no streams")
    cell = found[sdk][mode]
    assert cell["requests"] >= ITERATIONS
    assert cell["rows"] == {OUTCOME[mode]: cell["requests"]}
    assert cell["started"] == cell["finished"] == cell["requests"]
    assert cell["outcomes"] == [OUTCOME[mode]] * ITERATIONS
    assert (cell["faults"], cell["said"]) == (0, [])
