"""Executes the steps of the action of GitHub with bash, and with the files that a runner of GitHub gives them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Runner"]

ROOT = Path(__file__).parents[2]


class Runner:
    """Executes the `run` steps of action.yml as GitHub's runner does: with inputs, and the files of a job."""

    def __init__(self, workspace: Path, **inputs: str) -> None:
        self.action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
        self.workspace = workspace
        self.inputs = {name: str(one.get("default", "")) for name, one in self.action["inputs"].items()} | inputs
        temp = workspace / "_temp"
        temp.mkdir()
        (temp / "event.json").write_text('{"pull_request": {"number": 7}}')
        shim = temp / "loadgen"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m loadgen_controller "$@"\n')
        shim.chmod(0o755)
        self.files = {name: temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
        self.environ = os.environ | {name: str(path) for name, path in self.files.items()}
        self.environ |= {
            "PATH": f"{temp}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_EVENT_PATH": str(temp / "event.json"),
            "GITHUB_REPOSITORY": "shop/site",
            "RUNNER_TEMP": str(temp),
        }

    def step(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        (step,) = (one for one in self.action["runs"]["steps"] if one["id"] == name)
        given = {key: self._filled(value) for key, value in step.get("env", {}).items()}
        assert "${{" not in step["run"]  # a value of an input would become part of the script
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env=self.environ | given | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _filled(self, value: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: self.inputs[found[1]], value)

    @property
    def outputs(self) -> dict[str, str]:
        lines = self.files["GITHUB_OUTPUT"].read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}
